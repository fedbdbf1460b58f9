// How fast a rail is, as measured lately.
//
// A rail that is not chosen is not measured either: what is known of it may be long over (another job had the link, packets were lost while the
// port was down). So an idle rail whose measurement is old counts as unknown, which is tried before all others; and the next measurement
// takes the place of the old one.
#pragma once

#include <cstdint>

namespace tutti::verbs {

class RailRate {
 public:
  static constexpr uint64_t kOldNs = 1'000'000'000;

  /// `bytes` took `ns`, and were complete at `now`.
  void measure(uint64_t bytes, uint64_t ns, uint64_t now) {
    constexpr double kShare = 0.125;  // of the newest
    const double sample = static_cast<double>(ns) / static_cast<double>(bytes);
    ns_per_byte_ = is_old(now) ? sample : ns_per_byte_ + kShare * (sample - ns_per_byte_);
    measured_ns_ = now;
  }

  /// 0: not known.
  double ns_per_byte(uint64_t now, bool is_idle) const { return is_idle && is_old(now) ? 0 : ns_per_byte_; }

 private:
  bool is_old(uint64_t now) const { return measured_ns_ == 0 || now - measured_ns_ > kOldNs; }

  double ns_per_byte_ = 0;
  uint64_t measured_ns_ = 0;  // 0: never
};

}  // namespace tutti::verbs
