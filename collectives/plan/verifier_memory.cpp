#include "collectives/plan/verifier_memory.h"

namespace tutti::plan {

void Accesses::read(Shadow& shadow, const Accessor& who, Conflict& conflict) {
  if (!conflict.found && shadow.writer != kNobody && !who.sees(shadow.writer, shadow.written)) {
    conflict = {true, true, shadow.write_event};
  }
  // Reads that this one follows need no record any more: who is ordered after this one is ordered after them.
  uint32_t* link = &shadow.reads;
  while (*link != kNobody) {
    const uint32_t at = *link;
    if (who.sees(reads_[at].reader, reads_[at].tick)) {
      *link = reads_[at].next;
      forget(at);
    } else {
      link = &reads_[at].next;
    }
  }
  uint32_t slot = free_;
  if (slot == kNobody) {
    slot = static_cast<uint32_t>(reads_.size());
    reads_.emplace_back();
  } else {
    free_ = reads_[slot].next;
  }
  reads_[slot] = {who.component, who.tick, who.event, shadow.reads};
  shadow.reads = slot;
}

void Accesses::write(Shadow& shadow, const Accessor& who, Conflict& conflict) {
  if (!conflict.found && shadow.writer != kNobody && !who.sees(shadow.writer, shadow.written)) {
    conflict = {true, true, shadow.write_event};
  }
  while (shadow.reads != kNobody) {
    const Read& earlier = reads_[shadow.reads];
    if (!conflict.found && !who.sees(earlier.reader, earlier.tick)) conflict = {true, false, earlier.event};
    const uint32_t at = shadow.reads;
    shadow.reads = earlier.next;
    forget(at);
  }
  shadow.writer = who.component;
  shadow.written = who.tick;
  shadow.write_event = who.event;
}

}  // namespace tutti::plan
