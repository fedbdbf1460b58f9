// What one benchmark is about: all that differs between collectives (collectives.h has them all).
#pragma once

#include <tutti/tutti.h>

#include <cstdint>

namespace tutti::bench {

enum class Kind : uint8_t { all_reduce, broadcast };

struct CollectiveInfo {
  Kind kind;
  const char* name;      // as tutti_algorithm_name takes it
  const char* program;   // the executable
  const char* summary;   // one line of --help
  const char* examples;  // arguments, one line each
  bool in_place_by_default;
  double (*bus_factor)(int ranks);  // busbw = algbw * bus_factor, as nccl-tests defines it

  bool has_op() const { return kind == Kind::all_reduce; }
  bool has_root() const { return kind == Kind::broadcast; }
};

/// One call of the collective; in place means send == recv.
struct Call {
  const void* send = nullptr;
  void* recv = nullptr;
  int64_t count = 0;
  tutti_datatype_t datatype = TUTTI_FLOAT32;
  tutti_op_t op = TUTTI_SUM;
  int root = 0;
};

}  // namespace tutti::bench
