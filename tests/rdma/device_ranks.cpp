// All-reduces and broadcasts of BYTES on device memory of ranks on several nodes, until rank 0 sees that FILE exists. Verifies every result; prints how many
// rounds there were.
//
// Usage: device_ranks BYTES FILE   (every rank; launched as tutti_comm_create_env wants it; a device, or an emulated one)
//        device_ranks BYTES        one round; then the last rank ends without a word, and the others must be told
#include <fmt/format.h>
#include <signal.h>
#include <tutti/tutti.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>
#include <vector>

#include "tests/gpu/support/allocations.h"
#include "tests/gpu/support/copies.h"
#include "tests/runtime/support/expect.h"

namespace {

class OnDevice {
 public:
  explicit OnDevice(size_t bytes)
      : count_(bytes / sizeof(int32_t)),
        device_(tutti::cuda::Device::open(0)),
        context_(*device_),
        stream_(*device_),
        memory_(device_, count_ * sizeof(int32_t)) {
    tutti_comm_config_t config = TUTTI_COMM_CONFIG_INIT;
    config.device = 0;
    expect_success(tutti_comm_create_env(&comm_, &config), "tutti_comm_create_env");
    tutti_comm_rank(comm_, &rank_);
    tutti_comm_size(comm_, &size_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { tutti_comm_destroy(comm_); }

  int rank() const { return rank_; }
  int size() const { return size_; }

  void round(int round) const {
    const int32_t base = 7 * round;
    fill(base + rank_);
    expect_success(tutti_all_reduce(data(), data(), count(), TUTTI_INT32, TUTTI_SUM, comm_, stream_.get()),
                   "tutti_all_reduce");
    check(round, "all_reduce", size_ * base + size_ * (size_ - 1) / 2);
    const int root = round % size_;
    fill(base + rank_);
    expect_success(tutti_broadcast(data(), data(), count(), TUTTI_INT32, root, comm_, stream_.get()),
                   "tutti_broadcast");
    check(round, "broadcast", base + root);
  }

  /// What rank 0 says, on every rank.
  bool agree(bool mine) const {
    upload(*device_, memory_.address(), {static_cast<uint8_t>(mine ? 1 : 0), 0, 0, 0});
    expect_success(tutti_broadcast(data(), data(), 1, TUTTI_INT32, 0, comm_, stream_.get()),
                   "tutti_broadcast");
    stream_.wait();
    expect_success(tutti_comm_query(comm_), "tutti_comm_query");
    return download(*device_, memory_.address(), sizeof(int32_t))[0] != 0;
  }

  /// A round with a rank that is gone.
  void expect_loss() const {
    fill(1);
    expect_success(tutti_all_reduce(data(), data(), count(), TUTTI_INT32, TUTTI_SUM, comm_, stream_.get()),
                   "tutti_all_reduce");
    stream_.wait();
    expect_result(tutti_comm_query(comm_), TUTTI_PEER_LOST, "tutti_comm_query");
    std::printf("rank %d was told: %s\n", rank_, tutti_last_error());
  }

 private:
  void* data() const {
    return reinterpret_cast<void*>(memory_.address());  // NOLINT(performance-no-int-to-ptr)
  }
  int64_t count() const { return static_cast<int64_t>(count_); }

  /// Every element another one.
  void fill(int32_t first) const {
    std::vector<uint8_t> bytes(count_ * sizeof(int32_t));
    for (size_t i = 0; i < count_; ++i) {
      const int32_t value = first + static_cast<int32_t>(i % 1000) * 1000;
      std::memcpy(bytes.data() + i * sizeof(value), &value, sizeof(value));
    }
    upload(*device_, memory_.address(), bytes);
  }

  void check(int round, std::string_view what, int32_t first) const {
    stream_.wait();
    expect_success(tutti_comm_query(comm_), "tutti_comm_query");
    const int32_t terms = what == "broadcast" ? 1 : size_;
    const std::vector<uint8_t> bytes = download(*device_, memory_.address(), count_ * sizeof(int32_t));
    for (size_t i = 0; i < count_; ++i) {
      int32_t value = 0;
      std::memcpy(&value, bytes.data() + i * sizeof(value), sizeof(value));
      const int32_t wanted = first + terms * static_cast<int32_t>(i % 1000) * 1000;
      expect(value == wanted, "rank {}, round {}, {}: element {} of {} is {}, expected {}", rank_, round,
             what, i, count_, value, wanted);
    }
  }

  size_t count_;
  tutti::cuda::DevicePtr device_;
  tutti::cuda::ContextGuard context_;
  CopyStream stream_;
  Allocation memory_;
  tutti_comm_t comm_ = nullptr;
  int rank_ = 0;
  int size_ = 0;
};

void run_until(const char* file, size_t bytes) {
  const OnDevice ranks(bytes);
  int rounds = 0;
  do {
    ranks.round(rounds++);
  } while (ranks.agree(access(file, F_OK) != 0));
  if (ranks.rank() == 0)
    std::printf("%d rounds of %zu bytes on %d devices are right\n", rounds, bytes, ranks.size());
}

void lose_a_rank(size_t bytes) {
  const OnDevice ranks(bytes);
  ranks.round(0);
  if (ranks.rank() == ranks.size() - 1) kill(getpid(), SIGKILL);
  ranks.expect_loss();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: device_ranks BYTES [FILE]\n");
    return 2;
  }
  try {
    const auto bytes = static_cast<size_t>(std::atoll(argv[1]));
    if (argc == 3) {
      run_until(argv[2], bytes);
    } else {
      lose_a_rank(bytes);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "device_ranks: %s\n", error.what());
    return 1;
  }
}
