// Groups: calls of one thread that begin together.
//
// A thread's open group collects checked calls. At its end, the calls of each communicator keep their order; the first calls of all
// communicators begin together, then the second ones, and so on.
#pragma once

#include <string>

#include "include/tutti/tutti.h"
#include "runtime/communicator/communicator.h"

namespace tutti {

struct GroupCall {
  Communicator* comm = nullptr;
  tutti_comm_t handle = nullptr;
  Call call;
  const void* send = nullptr;
  void* recv = nullptr;
  void* stream = nullptr;
  bool on_device = false;
};

/// The calling thread's group.
class Group {
 public:
  static void start();
  static bool is_open();
  /// Refuses what is wrong with the call by itself; `call.comm->error_text()` says why.
  static Result add(const GroupCall& call);
  /// The first error of any call, with its text. Closes an inner group without doing anything.
  static Result end(std::string& text);
};

}  // namespace tutti
