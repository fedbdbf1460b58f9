#include "runtime/group.h"

#include <sched.h>

#include <algorithm>
#include <map>
#include <vector>

#include "runtime/device.h"
#include "runtime/handles.h"

namespace tutti {

namespace {

thread_local int depth = 0;
thread_local std::vector<GroupCall> collected;

/// Keeps the first error.
class Verdict {
 public:
  void note(Result result, const std::string& text) {
    if (result == Result::success || result_ != Result::success) return;
    result_ = result;
    text_ = text;
  }
  Result result() const { return result_; }
  const std::string& text() const { return text_; }

 private:
  Result result_ = Result::success;
  std::string text_;
};

struct Outstanding {
  Communicator* comm;
  uint64_t ticket;
};

/// Calls that are the k-th of their communicator.
std::vector<std::vector<GroupCall>> rounds_of(const std::vector<GroupCall>& calls) {
  std::map<Communicator*, size_t> seen;
  std::vector<std::vector<GroupCall>> rounds;
  for (const GroupCall& call : calls) {
    const size_t round = seen[call.comm]++;
    if (rounds.size() <= round) rounds.resize(round + 1);
    rounds[round].push_back(call);
  }
  return rounds;
}

void begin_on_host(const std::vector<GroupCall>& round, std::vector<Outstanding>& outstanding,
                   Verdict& verdict) {
  for (const GroupCall& call : round) {
    if (call.on_device) continue;
    uint64_t ticket = 0;
    const Result begun = call.comm->begin(call.call, call.send, call.recv, ticket);
    verdict.note(begun, call.comm->error_text());
    if (begun == Result::success) outstanding.push_back({call.comm, ticket});
  }
}

void begin_on_devices(const std::vector<GroupCall>& round, Verdict& verdict) {
  std::vector<DeviceCall> calls;
  std::vector<Communicator*> comms;
  for (const GroupCall& call : round) {
    if (!call.on_device) continue;
    const Result checked = call.comm->check_on_device(call.call, call.send, call.recv);
    verdict.note(checked, call.comm->error_text());
    if (checked != Result::success) continue;
    calls.push_back({.path = call.comm->device(),
                     .call = call.call,
                     .send = call.send,
                     .recv = call.recv,
                     .stream = call.stream,
                     .result = Result::success,
                     .problem = {}});
    comms.push_back(call.comm);
  }
  if (calls.empty()) return;
  enqueue_together(calls);
  for (size_t i = 0; i < calls.size(); ++i) {
    if (calls[i].result == Result::success) continue;
    if (calls[i].result == Result::unsupported) {
      verdict.note(comms[i]->refuse(calls[i].result, calls[i].call, calls[i].problem),
                   comms[i]->error_text());
    } else {
      verdict.note(comms[i]->device_failed(calls[i].call, calls[i].problem), comms[i]->error_text());
    }
  }
}

/// All ranks of this thread advance in turn until all are complete; each watches its own deadline.
void complete(std::vector<Outstanding>& outstanding, Verdict& verdict) {
  while (!outstanding.empty()) {
    std::erase_if(outstanding, [&](const Outstanding& one) {
      const Result result = one.comm->test(one.ticket);
      if (result == Result::in_progress) return false;
      verdict.note(result, one.comm->error_text());
      return true;
    });
    if (!outstanding.empty()) sched_yield();
  }
}

}  // namespace

void Group::start() {
  ++depth;
}

bool Group::is_open() {
  return depth > 0;
}

Result Group::add(const GroupCall& call) {
  const Result checked = call.on_device ? call.comm->check_on_device(call.call, call.send, call.recv)
                                        : call.comm->check_on_host(call.call, call.send, call.recv);
  if (checked == Result::success) collected.push_back(call);
  return checked;
}

Result Group::end(std::string& text) {
  if (depth == 0) {
    text = "tutti_group_end: this thread has no open group; expected tutti_group_start before it";
    return Result::invalid_usage;
  }
  if (--depth > 0) return Result::success;
  std::vector<GroupCall> calls;
  calls.swap(collected);
  Verdict verdict;
  std::erase_if(calls, [&](const GroupCall& call) {
    bool forked = false;
    if (handles::find(call.handle, forked) == call.comm) return false;
    verdict.note(Result::invalid_usage,
                 "tutti_group_end: a communicator of the group was destroyed before its end");
    return true;
  });
  std::vector<Outstanding> outstanding;
  size_t begun = 0;
  for (const auto& round : rounds_of(calls)) {
    begin_on_devices(round, verdict);
    begin_on_host(round, outstanding, verdict);
    // A communicator that has too many operations outstanding would wait for the oldest, and only for its own rank.
    if (++begun % (Communicator::kMaxOutstanding / 2) == 0) complete(outstanding, verdict);
  }
  complete(outstanding, verdict);
  text = verdict.text();
  return verdict.result();
}

}  // namespace tutti
