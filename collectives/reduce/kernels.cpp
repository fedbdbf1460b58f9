// Chooses the kernels for this processor, once.
#include "collectives/reduce/kernels.h"

#if defined(TUTTI_REDUCE_X86)
#include <cpuid.h>
#endif

#include <cstring>

namespace tutti::reduce {

// One table per isa_*.cpp.
namespace portable {
extern const Kernels kTable;
}
#if defined(TUTTI_REDUCE_X86)
namespace avx2 {
extern const Kernels kTable;
}
namespace avx512 {
extern const Kernels kTable;
}
#endif

namespace {

#if defined(TUTTI_REDUCE_X86)
// Not every compiler's __builtin_cpu_supports knows "f16c". The operating system's part (saving the wide registers)
// is in the answer for AVX2.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

const Kernels& best() {
#if defined(TUTTI_REDUCE_X86)
  if (has_avx512()) return avx512::kTable;
  if (has_avx2()) return avx2::kTable;
#endif
  return portable::kTable;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = best();
  return chosen;
}

const Kernels* kernels(const char* name) {
  if (std::strcmp(name, "portable") == 0) return &portable::kTable;
#if defined(TUTTI_REDUCE_X86)
  if (std::strcmp(name, "avx2") == 0 && has_avx2()) return &avx2::kTable;
  if (std::strcmp(name, "avx512") == 0 && has_avx512()) return &avx512::kTable;
#endif
  return nullptr;
}

}  // namespace tutti::reduce
