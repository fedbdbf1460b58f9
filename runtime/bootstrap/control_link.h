// One TCP connection that carries frames, never blocking: what does not go out waits in memory, what comes in is cut into frames.
//
// Memory: of what has come, at most one frame of the largest allowed size and one reading; a link to somebody who has not yet
// shown that it belongs to the job allows only the small hello. What waits to go out is bounded by those who send (collective
// calls by their table, the control thread by leaving out what may be lost).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/descriptor.h"
#include "runtime/bootstrap/frame.h"

namespace tutti {

/// A point in time until which something is awaited.
class Deadline {
 public:
  explicit Deadline(uint64_t limit_ns);
  bool passed() const;
  uint64_t remaining_ns() const;
  /// For poll(): milliseconds until the deadline, rounded up, at most `most`.
  int poll_ms(uint64_t most_ms = 1000) const;
  /// A deadline that ends earlier by `ns`, or is over.
  Deadline earlier(uint64_t ns) const;
  bool operator<(const Deadline& other) const { return end_ < other.end_; }

 private:
  uint64_t end_;
};

class Link {
 public:
  /// Takes a connected, non-blocking socket. `most_payload`: frames with larger payloads are refused.
  explicit Link(Descriptor socket, int rank = -1, size_t most_payload = SIZE_MAX);

  int fd() const { return socket_.get(); }
  int rank() const { return rank_; }
  void belongs_to(int rank);  // from now on: it has said a valid hello

  void send(FrameType type, int rank, std::string_view payload = {});
  /// Sends what can be sent now.
  void flush();
  size_t unsent() const { return out_.size() - sent_; }
  /// What poll() shall look for.
  short events() const;

  /// Takes what has come, unless a whole frame already waits.
  void receive();
  /// The type of the next frame whose header has come; it stays.
  std::optional<FrameType> peek();
  /// The next whole frame. After the last one, problem() says whether more can come.
  std::optional<Frame> next();
  /// Why nothing more comes: "closed the connection", or what was wrong. Empty while all is well.
  const std::string& problem() const { return problem_; }
  bool closed() const { return closed_; }  // by the peer or the network, not for what it said

  uint64_t bytes() const { return bytes_; }

  /// Tells the peer that nothing more comes.
  void finish();

 private:
  std::optional<FrameHeader> header_of_next();

  Descriptor socket_;
  int rank_;
  size_t most_payload_;
  std::string in_;
  size_t taken_ = 0;
  std::string out_;
  size_t sent_ = 0;
  std::string end_;  // why the connection has ended
  std::string problem_;
  bool closed_ = false;
  uint64_t bytes_ = 0;
};

/// Ends connections so that what was said on them arrives: sends what waits, says that nothing more comes, and takes (and drops) what
/// comes until the peers have ended as well, `limit_ns` at most.
void part_from(std::vector<Link>& links, uint64_t limit_ns) noexcept;

}  // namespace tutti
