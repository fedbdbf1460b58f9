// What a benchmark needs of the CUDA driver: loaded at run time as Tutti loads it (TUTTI_CUDA_LIBRARY, libcuda.so.1), in objects that clean
// up behind themselves. Set-up throws std::runtime_error; what lies between the stamps returns the driver's code.
//
// The primary context of a device is used, as by Tutti and by every program of the CUDA run-time library.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace tutti::bench::gpu {

struct Driver {
#define TUTTI_BENCH_CUDA(name) decltype(&::name) name = nullptr;
#include "benchmarks/gpu_functions.inc"
#undef TUTTI_BENCH_CUDA

  /// Loads it at the first call. Throws std::runtime_error that says why there is none.
  static const Driver& get();
  /// As cuDriverGetVersion: 13000.
  int version = 0;

  std::string text(CUresult result) const;
  void check(CUresult result, const char* what) const;
};

/// A device and its primary context, which is current for the calling thread from the constructor on.
class Device {
 public:
  explicit Device(int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  void make_current() const;
  int ordinal() const { return ordinal_; }
  const std::string& name() const { return name_; }
  size_t free_bytes() const;

 private:
  int ordinal_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  std::string name_;
};

/// Device memory: the driver's, or of tutti_mem_alloc, which other processes can map.
class Memory {
 public:
  enum class From : uint8_t { driver, tutti };

  Memory() = default;
  Memory(const Device& device, size_t bytes, From from = From::driver);
  Memory(Memory&& other) noexcept : address_(std::exchange(other.address_, 0)), from_(other.from_) {}
  Memory& operator=(Memory&&) = delete;
  ~Memory();

  CUdeviceptr address() const { return address_; }
  void* pointer() const { return reinterpret_cast<void*>(address_); }  // NOLINT(performance-no-int-to-ptr)

 private:
  CUdeviceptr address_ = 0;
  From from_ = From::driver;
};

/// Pinned host memory, which copies go through.
class Pinned {
 public:
  explicit Pinned(size_t bytes);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  CUdeviceptr on_device() const;

 private:
  void* data_ = nullptr;
};

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  CUstream get() const { return stream_; }

 private:
  CUstream stream_ = nullptr;
};

/// With a time.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(CUstream stream) const;
  /// `stream` goes on when this is reached.
  void hold(CUstream stream) const;
  bool reached() const;
  /// Nanoseconds from `start` to this; both are reached.
  double since(const Event& start) const;

 private:
  CUevent event_ = nullptr;
};

/// What was captured from `origin` between start and finish, ready to be launched.
class Graph {
 public:
  static void start(CUstream origin);
  explicit Graph(CUstream origin);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  CUresult launch(CUstream stream) const;

 private:
  CUgraph graph_ = nullptr;
  CUgraphExec executable_ = nullptr;
};

/// Keeps a stream from going on until the host says so: what is enqueued meanwhile then runs without waiting for the host. Drivers and
/// devices that cannot do that leave it open.
class Gate {
 public:
  Gate();
  void close(CUstream stream);
  void open();

 private:
  Pinned word_;
  bool usable_;
};

}  // namespace tutti::bench::gpu
