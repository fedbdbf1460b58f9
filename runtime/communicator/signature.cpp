#include "runtime/communicator/signature.h"

#include <fmt/format.h>

namespace tutti {

uint64_t pack(const Call& call) {
  return static_cast<uint64_t>(call.collective) | static_cast<uint64_t>(call.datatype) << 8 |
         static_cast<uint64_t>(call.op) << 16 | static_cast<uint64_t>(call.registered) << 24 |
         static_cast<uint64_t>(call.root) << 32;
}

Call unpack(uint64_t packed, uint64_t count) {
  const auto field = [&](int shift, int values) {
    return static_cast<uint8_t>((packed >> shift & 0xff) % values);
  };
  Call call;
  call.collective = static_cast<Collective>(field(0, kCollectives));
  call.datatype = static_cast<DataType>(field(8, kDataTypes));
  call.op = static_cast<ReduceOp>(field(16, kReduceOps));
  call.registered = field(24, 2) != 0;
  call.root = static_cast<int>(packed >> 32);
  call.count = count;
  return call;
}

std::string describe(const Call& call) {
  const char* where = call.registered ? ", in registered buffers" : "";
  switch (call.collective) {
    case Collective::all_reduce:
      return fmt::format("all_reduce of {} {}, {}{}", call.count, name_of(call.datatype), name_of(call.op),
                         where);
    case Collective::broadcast:
      return fmt::format("broadcast of {} {} from root {}{}", call.count, name_of(call.datatype), call.root,
                         where);
    case Collective::barrier:
      return "barrier";
  }
  return "an unknown operation";
}

}  // namespace tutti
