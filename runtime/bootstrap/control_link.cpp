#include "runtime/bootstrap/control_link.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "core/clock.h"

namespace tutti {

namespace {

constexpr size_t kReading = 65536;

}  // namespace

Deadline::Deadline(uint64_t limit_ns) {
  const uint64_t now = now_ns();
  end_ = limit_ns > UINT64_MAX - now ? UINT64_MAX : now + limit_ns;
}

bool Deadline::passed() const {
  return now_ns() >= end_;
}

uint64_t Deadline::remaining_ns() const {
  const uint64_t now = now_ns();
  return now >= end_ ? 0 : end_ - now;
}

int Deadline::poll_ms(uint64_t most_ms) const {
  const uint64_t remaining = remaining_ns();
  return static_cast<int>(std::min(most_ms, remaining / 1'000'000 + (remaining % 1'000'000 != 0 ? 1 : 0)));
}

Deadline Deadline::earlier(uint64_t ns) const {
  Deadline result = *this;
  result.end_ = end_ > ns ? end_ - ns : 0;
  return result;
}

Link::Link(Descriptor socket, int rank, size_t most_payload)
    : socket_(std::move(socket)), rank_(rank), most_payload_(most_payload) {
  const int on = 1;
  setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void Link::belongs_to(int rank) {
  rank_ = rank;
  most_payload_ = SIZE_MAX;
}

void Link::send(FrameType type, int rank, std::string_view payload) {
  if (!end_.empty()) return;
  out_ += frame_bytes(type, rank, payload);
  flush();
}

void Link::flush() {
  while (end_.empty() && sent_ < out_.size()) {
    const ssize_t n = ::send(socket_.get(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n < 0) {
      // What has come may still be read: the end shows there.
      out_.clear();
      sent_ = 0;
      return;
    }
    sent_ += static_cast<size_t>(n);
    bytes_ += static_cast<uint64_t>(n);
  }
  if (sent_ == out_.size() || sent_ > kReading) {
    out_.erase(0, sent_);
    sent_ = 0;
  }
}

short Link::events() const {
  return unsent() > 0 ? POLLIN | POLLOUT : POLLIN;
}

std::optional<FrameHeader> Link::header_of_next() {
  if (!problem_.empty() || in_.size() - taken_ < FrameHeader::kBytes) return std::nullopt;
  const FrameHeader header =
      parse_frame_header(reinterpret_cast<const unsigned char*>(in_.data()) + taken_, problem_);
  if (problem_.empty() && header.length > most_payload_) {
    problem_ = fmt::format("a frame of type {} with {} bytes, at most {} allowed here",
                           static_cast<int>(header.type), header.length, most_payload_);
  }
  if (!problem_.empty()) return std::nullopt;
  return header;
}

void Link::receive() {
  if (!end_.empty()) return;
  const std::optional<FrameHeader> header = header_of_next();
  if (!problem_.empty()) return;
  if (header && in_.size() - taken_ >= FrameHeader::kBytes + header->length) return;
  in_.erase(0, taken_);
  taken_ = 0;
  const size_t allowed =
      most_payload_ == SIZE_MAX ? kReading : FrameHeader::kBytes + most_payload_ - in_.size();
  const size_t before = in_.size();
  in_.resize(before + allowed);
  ssize_t n = 0;
  do {
    n = recv(socket_.get(), in_.data() + before, allowed, 0);
  } while (n < 0 && errno == EINTR);
  const int error = errno;
  in_.resize(before + static_cast<size_t>(std::max<ssize_t>(n, 0)));
  if (n > 0) bytes_ += static_cast<uint64_t>(n);
  if (n == 0) end_ = "closed the connection";
  if (n < 0 && error != EAGAIN && error != EWOULDBLOCK) {
    end_ = fmt::format("the connection has failed: {}", std::system_category().message(error));
  }
}

std::optional<FrameType> Link::peek() {
  const std::optional<FrameHeader> header = header_of_next();
  if (!header) return std::nullopt;
  return header->type;
}

std::optional<Frame> Link::next() {
  const std::optional<FrameHeader> header = header_of_next();
  if (header && in_.size() - taken_ >= FrameHeader::kBytes + header->length) {
    Frame frame{*header, in_.substr(taken_ + FrameHeader::kBytes, header->length)};
    taken_ += FrameHeader::kBytes + header->length;
    return frame;
  }
  if (problem_.empty() && !end_.empty()) {
    problem_ = end_;
    closed_ = true;
  }
  return std::nullopt;
}

void Link::finish() {
  if (socket_) shutdown(socket_.get(), SHUT_WR);
}

void part_from(std::vector<Link>& links, uint64_t limit_ns) noexcept {
  const Deadline deadline(limit_ns);
  std::vector<bool> finished(links.size(), false);
  std::vector<bool> over(links.size(), false);
  char dropped[4096];
  for (;;) {
    std::vector<pollfd> entries;
    for (size_t i = 0; i < links.size(); ++i) {
      Link& link = links[i];
      link.flush();
      if (!finished[i] && link.unsent() == 0) {
        link.finish();
        finished[i] = true;
      }
      for (ssize_t n = 1; n > 0 && !over[i] && !deadline.passed();) {
        n = recv(link.fd(), dropped, sizeof(dropped), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) over[i] = true;
      }
      if (!over[i]) entries.push_back({link.fd(), link.events(), 0});
    }
    if (entries.empty() || deadline.passed()) break;
    poll(entries.data(), entries.size(), deadline.poll_ms());
  }
  links.clear();
}

}  // namespace tutti
