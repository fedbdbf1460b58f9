// Windows in shared memory: where everything lies, and the memory itself.
//
//   WindowHeader | PairLine[ranks] | packets (ring of lines) | slots (ring of bytes) | annex (what the layer above shares)
//
// The memory is an anonymous file (memfd), sealed against resizing and executing, passed to peers as a descriptor, and gone
// when the last process that maps it is. All of it is reserved when it is made: a memory limit that is too small is an
// error then, never a SIGBUS later. Ranks that are threads of one process use one common mapping.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/descriptor.h"
#include "transports/channel.h"
#include "transports/packet.h"

namespace tutti::shm {

/// Sizes and offsets of a window in bytes; equal on all ranks.
struct Layout {
  size_t pairs = 0;
  size_t packets = 0;
  size_t packets_size = 0;
  size_t slots = 0;
  size_t slots_size = 0;
  size_t annex = 0;
  size_t annex_size = 0;
  size_t total = 0;
};

/// `scratch_bytes` is the size of a window without its annex, 0 for automatic: 2 MiB for few ranks, and at most 64 MiB per node, annexes
/// included. The annex is `annex_bytes` that nobody here looks at; zero at first, as all of a window.
Layout layout(int ranks, size_t scratch_bytes, size_t annex_bytes = 0);

/// A mapping of a window. Move-only; unmaps.
class Mapping {
 public:
  Mapping() = default;
  Mapping(int descriptor, size_t size);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Makes a window's memory: zero, reserved, sealed. Throws Error(system_error) saying how much was asked for.
Descriptor create_memory(size_t size, int rank);

/// Checks that a descriptor that came from a peer is a sealed memory file of the expected size; throws otherwise.
void check_memory(int descriptor, size_t size, int peer);

/// The parts of a mapped window.
struct Window {
  std::byte* base = nullptr;
  WindowHeader* header = nullptr;
  PairLine* pairs = nullptr;
  Packet* packets = nullptr;
  std::byte* slots = nullptr;
  std::byte* annex = nullptr;

  static Window at(std::byte* base, const Layout& layout) {
    return {base,
            reinterpret_cast<WindowHeader*>(base),
            reinterpret_cast<PairLine*>(base + layout.pairs),
            reinterpret_cast<Packet*>(base + layout.packets),
            base + layout.slots,
            base + layout.annex};
  }
};

}  // namespace tutti::shm
