// What fresh memory is filled with: whoever reads it before writing it gets this, and not zeros that happen to be right.
#pragma once

namespace tutti::emulation {

inline constexpr unsigned char kPoison = 0xA7;

}  // namespace tutti::emulation
