#include "runtime/bootstrap/frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace tutti {

namespace {

constexpr size_t kContactBytes = 4 + 2 + 16;

class Writer {
 public:
  template <typename T>
  Writer& number(T value) {
    const auto bits = static_cast<uint64_t>(value);
    for (size_t i = sizeof(T); i-- > 0;) bytes_.push_back(static_cast<char>(bits >> (8 * i)));
    return *this;
  }
  template <size_t kCount>
  Writer& raw(const std::array<unsigned char, kCount>& bytes) {
    bytes_.append(reinterpret_cast<const char*>(bytes.data()), kCount);
    return *this;
  }
  Writer& text(std::string_view text) {
    bytes_.append(text);
    return *this;
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads what there is; past the end it gives zeros and is no longer good.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T number() {
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value = value << 8 | next();
    return static_cast<T>(value);
  }
  template <size_t kCount>
  std::array<unsigned char, kCount> raw() {
    std::array<unsigned char, kCount> bytes{};
    for (unsigned char& byte : bytes) byte = next();
    return bytes;
  }
  std::string_view rest() {
    const std::string_view all = bytes_;
    bytes_ = {};
    return all;
  }
  /// All bytes have been read, and there were enough.
  bool complete() const { return good_ && bytes_.empty(); }
  bool good() const { return good_; }

 private:
  unsigned char next() {
    if (bytes_.empty()) {
      good_ = false;
      return 0;
    }
    const auto byte = static_cast<unsigned char>(bytes_.front());
    bytes_.remove_prefix(1);
    return byte;
  }

  std::string_view bytes_;
  bool good_ = true;
};

bool exists(FrameType type) {
  return type >= FrameType::hello && type <= FrameType::ask_stamps;
}

}  // namespace

size_t most_payload(FrameType type) {
  switch (type) {
    case FrameType::hello:
      return Hello::kBytes;
    case FrameType::welcome:
      return UniqueId::kSecretBytes;
    case FrameType::digest:
      return kMostDigest;
    case FrameType::neighbours:
      return 8 + kMostNeighbours * kContactBytes;
    case FrameType::error:
    case FrameType::spread_error:
      return 4 + kMostErrorText;
    case FrameType::limit:
    case FrameType::ping:
    case FrameType::pong:
    case FrameType::clock:
      return 16;
    case FrameType::entry:
    case FrameType::table:
      return 4 + kMostEntry;
    case FrameType::gone:
    case FrameType::query:
      return 4;
    case FrameType::answer:
      return 4 + 4 + 4 + 8 + 8;
    case FrameType::time_query:
      return 8;
    case FrameType::time_answer:
      return TimeAnswer::kBytes + TimeAnswer::kMapBytes;
    case FrameType::stamps:
      return StampBatch::kHeadBytes + StampBatch::kMost * EpochSummary::kBytes;
    case FrameType::ask_stamps:
    case FrameType::show_digest:
    case FrameType::ready:
    case FrameType::go:
    case FrameType::heartbeat:
      break;
  }
  return 0;
}

std::string frame_bytes(FrameType type, int rank, std::string_view payload) {
  const std::string_view sent = payload.substr(0, most_payload(type));
  Writer writer;
  writer.number(FrameHeader::kMagic)
      .number(FrameHeader::kVersion)
      .number(static_cast<uint16_t>(type))
      .number(static_cast<int32_t>(rank))
      .number(static_cast<uint32_t>(sent.size()))
      .text(sent);
  return writer.take();
}

FrameHeader parse_frame_header(const unsigned char* bytes, std::string& problem) {
  Reader reader({reinterpret_cast<const char*>(bytes), FrameHeader::kBytes});
  FrameHeader header;
  const auto magic = reader.number<uint32_t>();
  const auto version = reader.number<uint16_t>();
  header.type = static_cast<FrameType>(reader.number<uint16_t>());
  header.rank = reader.number<int32_t>();
  header.length = reader.number<uint32_t>();
  if (magic != FrameHeader::kMagic) {
    problem = fmt::format("a frame that begins with {:#010x}, expected {:#010x}", magic, FrameHeader::kMagic);
  } else if (version != FrameHeader::kVersion) {
    problem = fmt::format("protocol version {}, expected {}", version, FrameHeader::kVersion);
  } else if (!exists(header.type)) {
    problem = fmt::format("frame type {}", static_cast<int>(header.type));
  } else if (header.length > most_payload(header.type)) {
    problem = fmt::format("a frame of type {} with {} bytes, at most {} allowed",
                          static_cast<int>(header.type), header.length, most_payload(header.type));
  }
  return header;
}

Frame parse_frame(const unsigned char* bytes, size_t size, std::string& problem) {
  Frame frame;
  if (size < FrameHeader::kBytes) {
    problem = fmt::format("a frame of {} bytes, expected at least {}", size, FrameHeader::kBytes);
    return frame;
  }
  const FrameHeader header = parse_frame_header(bytes, problem);
  if (!problem.empty()) return frame;
  if (size - FrameHeader::kBytes != header.length) {
    problem =
        fmt::format("{} bytes of payload announced, {} came", header.length, size - FrameHeader::kBytes);
    return frame;
  }
  frame.header = header;
  frame.payload.assign(reinterpret_cast<const char*>(bytes) + FrameHeader::kBytes, header.length);
  return frame;
}

std::string write_hello(const Hello& hello) {
  return Writer()
      .raw(hello.secret)
      .number(hello.size)
      .number(hello.port)
      .raw(hello.address.bytes)
      .number(hello.digest)
      .take();
}

std::optional<Hello> read_hello(std::string_view payload) {
  Reader reader(payload);
  Hello hello;
  hello.secret = reader.raw<UniqueId::kSecretBytes>();
  hello.size = reader.number<int32_t>();
  hello.port = reader.number<uint16_t>();
  hello.address.bytes = reader.raw<16>();
  hello.digest = reader.number<uint64_t>();
  if (!reader.complete()) return std::nullopt;
  return hello;
}

std::string write_neighbours(const Neighbours& neighbours) {
  Writer writer;
  writer.number(neighbours.remaining);
  for (const Contact& c : neighbours.contacts) writer.number(c.rank).number(c.port).raw(c.address.bytes);
  return writer.take();
}

std::optional<Neighbours> read_neighbours(std::string_view payload) {
  if (payload.size() < 8 || (payload.size() - 8) % kContactBytes != 0) return std::nullopt;
  Reader reader(payload);
  Neighbours neighbours;
  neighbours.remaining = reader.number<uint64_t>();
  neighbours.contacts.resize((payload.size() - 8) / kContactBytes);
  if (neighbours.contacts.size() > kMostNeighbours) return std::nullopt;
  for (Contact& c : neighbours.contacts) {
    c.rank = reader.number<int32_t>();
    c.port = reader.number<uint16_t>();
    c.address.bytes = reader.raw<16>();
  }
  return neighbours;
}

std::string write_error(Result code, const std::string& text) {
  return Writer()
      .number(static_cast<uint32_t>(code))
      .text(std::string_view(text).substr(0, kMostErrorText))
      .take();
}

std::optional<ErrorReport> read_error(std::string_view payload) {
  Reader reader(payload);
  const auto code = reader.number<uint32_t>();
  if (!reader.good() || code < static_cast<uint32_t>(Result::invalid_argument) ||
      code > static_cast<uint32_t>(Result::internal_error)) {
    return std::nullopt;
  }
  ErrorReport report{static_cast<Result>(code), std::string(reader.rest())};
  if (report.text.size() > kMostErrorText) return std::nullopt;
  for (char& c : report.text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte != '\n' && (byte < ' ' || byte == 0x7f)) c = '?';
  }
  return report;
}

std::string write_numbers(uint64_t first, std::optional<uint64_t> second) {
  Writer writer;
  writer.number(first);
  if (second) writer.number(*second);
  return writer.take();
}

std::optional<std::array<uint64_t, 2>> read_numbers(std::string_view payload) {
  if (payload.size() != 8 && payload.size() != 16) return std::nullopt;
  Reader reader(payload);
  std::array<uint64_t, 2> numbers{reader.number<uint64_t>(), 0};
  if (payload.size() == 16) numbers[1] = reader.number<uint64_t>();
  return numbers;
}

std::string write_entry(const Entry& entry) {
  return Writer().number(entry.sequence).text(entry.bytes).take();
}

std::optional<Entry> read_entry(std::string_view payload) {
  Reader reader(payload);
  Entry entry;
  entry.sequence = reader.number<uint32_t>();
  if (!reader.good()) return std::nullopt;
  entry.bytes = reader.rest();
  if (entry.bytes.size() > kMostEntry) return std::nullopt;
  return entry;
}

std::string write_gone(PeerState state) {
  return Writer().number(static_cast<uint32_t>(state)).take();
}

std::optional<PeerState> read_gone(std::string_view payload) {
  Reader reader(payload);
  const auto state = reader.number<uint32_t>();
  if (!reader.complete()) return std::nullopt;
  if (state == static_cast<uint32_t>(PeerState::closed)) return PeerState::closed;
  if (state == static_cast<uint32_t>(PeerState::ended)) return PeerState::ended;
  return std::nullopt;
}

std::string write_query(uint32_t number) {
  return Writer().number(number).take();
}

std::optional<uint32_t> read_query(std::string_view payload) {
  Reader reader(payload);
  const auto number = reader.number<uint32_t>();
  if (!reader.complete()) return std::nullopt;
  return number;
}

std::string write_answer(const Answer& answer) {
  return Writer()
      .number(answer.asker)
      .number(answer.number)
      .number(answer.status.flags)
      .number(answer.status.epoch)
      .number(answer.status.since_waiting_ns)
      .take();
}

std::optional<Answer> read_answer(std::string_view payload) {
  Reader reader(payload);
  Answer answer;
  answer.asker = reader.number<int32_t>();
  answer.number = reader.number<uint32_t>();
  answer.status.flags = reader.number<uint32_t>();
  answer.status.epoch = reader.number<uint64_t>();
  answer.status.since_waiting_ns = reader.number<uint64_t>();
  if (!reader.complete()) return std::nullopt;
  return answer;
}

std::string write_time_answer(const TimeAnswer& answer) {
  Writer writer;
  writer.number(answer.sent).number(answer.time).number(answer.scale);
  if (const std::optional<ClockMap>& map = answer.to_root) {
    writer.number(map->from)
        .number(map->to)
        .number(std::bit_cast<uint64_t>(map->drift))
        .number(map->error_ns)
        .number(std::bit_cast<uint64_t>(map->growth))
        .number(map->begin)
        .number(map->end);
  }
  return writer.take();
}

std::optional<TimeAnswer> read_time_answer(std::string_view payload) {
  Reader reader(payload);
  TimeAnswer answer;
  answer.sent = reader.number<uint64_t>();
  answer.time = reader.number<uint64_t>();
  answer.scale = reader.number<uint64_t>();
  if (payload.size() > TimeAnswer::kBytes) {
    ClockMap& map = answer.to_root.emplace();
    map.from = reader.number<uint64_t>();
    map.to = reader.number<uint64_t>();
    map.drift = std::bit_cast<double>(reader.number<uint64_t>());
    map.error_ns = reader.number<uint64_t>();
    map.growth = std::bit_cast<double>(reader.number<uint64_t>());
    map.begin = reader.number<uint64_t>();
    map.end = reader.number<uint64_t>();
    if (!map.valid()) return std::nullopt;
  }
  if (!reader.complete() || answer.scale == 0) return std::nullopt;
  return answer;
}

std::string write_stamps(const StampBatch& batch) {
  Writer writer;
  writer.number(batch.node).number(batch.error_ns).number(batch.lost).number(batch.through);
  for (const EpochSummary& e : batch.epochs) {
    writer.number(e.epoch)
        .number(e.kind)
        .number(e.culprit)
        .number(e.first)
        .number(e.before_last)
        .number(e.last)
        .number(e.last_exit);
  }
  return writer.take();
}

std::optional<StampBatch> read_stamps(std::string_view payload) {
  if (payload.size() < StampBatch::kHeadBytes ||
      (payload.size() - StampBatch::kHeadBytes) % EpochSummary::kBytes != 0)
    return std::nullopt;
  const size_t count = (payload.size() - StampBatch::kHeadBytes) / EpochSummary::kBytes;
  if (count > StampBatch::kMost) return std::nullopt;
  Reader reader(payload);
  StampBatch batch;
  batch.node = reader.number<int32_t>();
  batch.error_ns = reader.number<uint64_t>();
  batch.lost = reader.number<uint64_t>();
  batch.through = reader.number<uint64_t>();
  batch.epochs.resize(count);
  for (EpochSummary& e : batch.epochs) {
    e.epoch = reader.number<uint64_t>();
    e.kind = reader.number<uint8_t>();
    e.culprit = reader.number<int32_t>();
    e.first = reader.number<uint64_t>();
    e.before_last = reader.number<uint64_t>();
    e.last = reader.number<uint64_t>();
    e.last_exit = reader.number<uint64_t>();
    if (e.first > e.before_last || e.before_last > e.last) return std::nullopt;
  }
  if (batch.node < 0) return std::nullopt;
  return batch;
}

}  // namespace tutti
