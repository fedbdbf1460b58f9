// Drives the fuzz target without libFuzzer: well-formed frames, mutated, cut and extended by a seeded generator.
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "core/clock.h"
#include "runtime/bootstrap/frame.h"
#include "tests/catch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using namespace tutti;

std::string random_bytes(std::mt19937_64& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

StampBatch random_batch(std::mt19937_64& random) {
  StampBatch batch = {.node = static_cast<int32_t>(random()),
                      .error_ns = random(),
                      .lost = random(),
                      .through = random(),
                      .epochs = {}};
  batch.epochs.resize(random() % 4);
  for (EpochSummary& e : batch.epochs) {
    const uint64_t first = random() % 1000;
    e = {random(), static_cast<uint8_t>(random()), static_cast<int32_t>(random()),
         first,    first + random() % 3,           first + random() % 4,
         random()};
  }
  return batch;
}

TimeAnswer random_time(std::mt19937_64& random) {
  TimeAnswer answer = {.sent = random(), .time = random(), .scale = random() % 3, .to_root = {}};
  if (random() % 2 == 0)
    answer.to_root = {random(), random(), std::bit_cast<double>(random()), random(), 1e-6,
                      random(), random()};
  if (answer.to_root && random() % 2 == 0) answer.to_root->drift = 1e-5;
  return answer;
}

std::string payload(FrameType type, std::mt19937_64& random) {
  const size_t most = most_payload(type);
  switch (random() % 5) {
    case 0:
      return random_bytes(random, most > 200 ? random() % 200 : most);
    case 1:
      return write_error(static_cast<Result>(random() % 12), random_bytes(random, random() % 50))
          .substr(0, most);
    case 2:
      return write_stamps(random_batch(random)).substr(0, most);
    case 3:
      return write_time_answer(random_time(random)).substr(0, most);
    default:
      return write_numbers(random() % 4, random() % 4).substr(0, random() % 17).substr(0, most);
  }
}

std::vector<uint8_t> mutated(std::mt19937_64& random) {
  const auto type = static_cast<FrameType>(random() % 23 + 1);
  const std::string whole = frame_bytes(type, static_cast<int>(random() % 10), payload(type, random));
  std::vector<uint8_t> bytes(whole.begin(), whole.end());
  // The header is where it matters.
  for (uint64_t changes = random() % 3; changes > 0; --changes) {
    bytes[random() % std::min<size_t>(bytes.size(), 24)] = static_cast<uint8_t>(random());
  }
  if (random() % 4 == 0) bytes.resize(random() % (bytes.size() + 20));
  return bytes;
}

std::string problem_of(const std::string& bytes) {
  std::string problem;
  parse_frame(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), problem);
  return problem;
}

}  // namespace

TEST_CASE("no bytes confuse the parser of control frames") {
  const uint64_t start = now_ns();
  int well_formed = 0;
  int malformed = 0;
  for (uint64_t number = 0; number < 1000 || now_ns() - start < 1'000'000'000; ++number) {
    std::mt19937_64 random(number);
    const std::vector<uint8_t> bytes = mutated(random);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    std::string problem;
    parse_frame(bytes.data(), bytes.size(), problem);
    (problem.empty() ? well_formed : malformed) += 1;
  }
  // Both kinds are reached.
  CHECK(well_formed > 100);
  CHECK(malformed > 100);
}

TEST_CASE("a frame of each wrong kind is refused with what is wrong") {
  const std::string good = frame_bytes(FrameType::ping, 3, write_numbers(1));
  const auto changed = [&](size_t at, char value) {
    std::string bytes = good;
    bytes[at] = value;
    return bytes;
  };
  CHECK(problem_of(good).empty());
  CHECK(problem_of("") == "a frame of 0 bytes, expected at least 16");
  CHECK(problem_of(good.substr(0, 15)) == "a frame of 15 bytes, expected at least 16");
  CHECK(problem_of(good + "x") == "8 bytes of payload announced, 9 came");
  CHECK(problem_of(changed(0, 'S')) == "a frame that begins with 0x53747463, expected 0x74747463");
  CHECK(problem_of(changed(5, 7)) == "protocol version 7, expected 1");
  CHECK(problem_of(changed(7, 0)) == "frame type 0");
  CHECK(problem_of(changed(7, 24)) == "frame type 24");
  CHECK(problem_of(changed(15, 17)) == "a frame of type 10 with 17 bytes, at most 16 allowed");
  CHECK(problem_of(changed(12, '\xff')) == "a frame of type 10 with 4278190088 bytes, at most 16 allowed");
}

TEST_CASE("numbers are big endian, and what is written is read back") {
  CHECK(frame_bytes(FrameType::go, 258, "") == std::string("\x74\x74\x74\x63\0\1\0\b\0\0\1\2\0\0\0\0", 16));
  const std::optional<ErrorReport> report = read_error(write_error(Result::timeout, "a\nb\x01\x7f"));
  REQUIRE(report);
  CHECK(report->code == Result::timeout);
  CHECK(report->text == "a\nb??");
  CHECK_FALSE(read_error(write_error(Result::success, "no error")));
  CHECK_FALSE(read_error("abc"));
  CHECK_FALSE(read_gone(write_gone(PeerState::alive)));
  CHECK(read_gone(write_gone(PeerState::ended)) == PeerState::ended);
  const StampBatch batch = {2, 30, 4, 77, {{76, 1, 5, 1000, 1001, 1001, 900}, {77, 2, 4, 7, 8, 9, 10}}};
  CHECK(read_stamps(write_stamps(batch)) == batch);
  StampBatch wrong = batch;
  wrong.epochs[1].first = 9;
  CHECK_FALSE(read_stamps(write_stamps(wrong)));
  wrong = batch;
  wrong.node = -1;
  CHECK_FALSE(read_stamps(write_stamps(wrong)));
  CHECK_FALSE(read_stamps(write_stamps(batch).substr(1)));
  wrong = batch;
  wrong.epochs.resize(StampBatch::kMost);
  CHECK(read_stamps(write_stamps(wrong)));
  wrong.epochs.resize(StampBatch::kMost + 1);
  CHECK_FALSE(read_stamps(write_stamps(wrong)));
  TimeAnswer time = {1, 2, 3, ClockMap{4, 5, -1e-5, 6, 1e-6, 7, 8}};
  const std::optional<TimeAnswer> told = read_time_answer(write_time_answer(time));
  REQUIRE(told);
  CHECK((told->sent == 1 && told->time == 2 && told->scale == 3 && told->to_root == time.to_root));
  for (const double drift : {std::nan(""), HUGE_VAL, 0.5}) {
    time.to_root->drift = drift;
    CHECK_FALSE(read_time_answer(write_time_answer(time)));
  }
  CHECK(read_time_answer(write_time_answer({1, 2, 3, {}})));
  CHECK_FALSE(read_time_answer(write_time_answer({1, 2, 0, {}})));
  // A text that is too long is cut, never refused.
  CHECK(problem_of(frame_bytes(FrameType::error, 0, write_error(Result::timeout, std::string(50000, 'x'))))
            .empty());
}
