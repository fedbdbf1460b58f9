// The opaque bytes by which peers reach a rank: where its UCX worker listens, its key, and where its slots are.
//
// They travel through the control tree, among ranks that have shown the job's secret. They are still checked: lengths must
// add up and a checksum must match before a byte of them is given to UCX, which trusts them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tutti::ucx {

struct Address {
  uint32_t rank = 0;
  uint64_t key = 0;          // that frames to this rank must bear
  uint64_t slots = 0;        // address of the slots in that rank's process
  uint64_t slots_bytes = 0;  // and their size
  std::string worker;        // as UCX packs it
  std::string rkey;          // of the slots; empty: they can be written by messages only
};

std::string pack(const Address& address);

/// Throws Error(invalid_argument) saying what is wrong with `text`.
Address unpack(std::string_view text);

}  // namespace tutti::ucx
