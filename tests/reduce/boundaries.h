// Floats on which a conversion to a narrower format can go wrong.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/reduce/reference.h"

namespace boundaries {

/// The numbers of a format up to the one with the bits `last`, the middles between neighbours (behind the last one, to the one that would be
/// next), the floats next to all of these, and what is beyond; of both signs. And NaN.
template <typename Format, typename Bits>
std::vector<float> around(const Format& format, Bits last) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> values = {0.0f, kInfinity, std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::min(), std::numeric_limits<float>::denorm_min()};
  for (uint32_t bits = 0; bits <= last; ++bits) {
    const float low = reference::decode(static_cast<Bits>(bits), format);
    const double high = bits < last ? reference::decode(static_cast<Bits>(bits + 1), format)
                                    : 2.0 * low - reference::decode(static_cast<Bits>(bits - 1), format);
    const auto middle = static_cast<float>((low + high) / 2);
    for (const float value : {low, middle, static_cast<float>(high)}) {
      values.push_back(value);
      values.push_back(std::nextafter(value, kInfinity));
      if (value > 0) values.push_back(std::nextafter(value, 0.0f));
    }
  }
  const size_t positive = values.size();
  for (size_t i = 0; i < positive; ++i) values.push_back(-values[i]);
  values.push_back(std::numeric_limits<float>::quiet_NaN());
  values.push_back(-std::numeric_limits<float>::quiet_NaN());
  return values;
}

/// Every float16, as a float.
inline std::vector<float> all_halves() {
  std::vector<float> values;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    values.push_back(reference::decode(static_cast<uint16_t>(bits), reference::kHalf));
  }
  return values;
}

}  // namespace boundaries
