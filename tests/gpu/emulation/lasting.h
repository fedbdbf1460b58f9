// A static object that is never destroyed: threads of the emulation use it until the process is gone.
#pragma once

#include <cstddef>
#include <memory>

namespace tutti::emulation {

template <class T>
class Lasting {
 public:
  Lasting() { std::construct_at(get()); }
  Lasting(const Lasting&) = delete;
  Lasting& operator=(const Lasting&) = delete;

  T* get() { return reinterpret_cast<T*>(storage_); }

 private:
  alignas(T) std::byte storage_[sizeof(T)];
};

/// The one object of type T of this process.
template <class T>
T& lasting() {
  static Lasting<T> object;
  return *object.get();
}

}  // namespace tutti::emulation
