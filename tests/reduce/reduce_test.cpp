// Every reduce kernel against the scalar reference, bit by bit. Since all instruction sets are held against the same
// bits, they equal each other as well.
#include <random>

#include "tests/catch.h"
#include "tests/reduce/operands.h"

namespace {

using operands::Bytes;
using operands::Guarded;
using tutti::DataType;
using tutti::ReduceOp;
using tutti::reduce::Kernels;
using tutti::reduce::ReduceJob;
using tutti::reduce::Store;

constexpr size_t kCapacity = 16384;
constexpr unsigned char kPoison = 0xa5;

/// How the operands lie in memory; distances count back from a forbidden page.
struct Layout {
  size_t dst_before;
  size_t src_before;
  bool stagger;  // each source at another alignment
  int in_place;  // dst is this source, or -1
  bool second;   // with dst2
  Store store;
};

constexpr Layout kLayouts[] = {
    {0, 0, false, -1, false, Store::cached},    {0, 0, false, -1, true, Store::streaming},
    {8, 16, true, -1, false, Store::cached},    {1, 3, true, -1, true, Store::cached},
    {40, 0, true, -1, false, Store::streaming}, {0, 0, false, 0, false, Store::cached},
    {24, 24, true, 1, true, Store::cached},     {64, 64, false, 1, false, Store::streaming},
    {3, 3, true, 0, false, Store::streaming},
};

/// Memory for one reduction; made once, because a mapping costs more than a reduction.
struct Arena {
  Guarded dst{kCapacity}, dst2{kCapacity};
  std::vector<std::unique_ptr<Guarded>> src;
  Arena() {
    for (int s = 0; s < 16; ++s) src.push_back(std::make_unique<Guarded>(kCapacity));
  }
};

/// Runs one reduction in one layout and returns what is wrong with it, or an empty text.
std::string run(Arena& arena, const Layout& layout, tutti::reduce::ReduceFn fn,
                const std::vector<Bytes>& sources, size_t count, uint32_t divisor, const Bytes& expected) {
  const size_t bytes = expected.size();
  const auto n = static_cast<int>(sources.size());
  std::vector<const void*> pointers;
  for (int s = 0; s < n; ++s) {
    const size_t shift = layout.stagger ? static_cast<size_t>(s) * 5 : 0;
    unsigned char* at = arena.src[static_cast<size_t>(s)]->last(bytes, layout.src_before + shift);
    if (bytes != 0) std::memcpy(at, sources[static_cast<size_t>(s)].data(), bytes);
    pointers.push_back(at);
  }
  arena.dst.fill(kPoison);
  if (layout.second) arena.dst2.fill(kPoison);
  const bool in_place = layout.in_place >= 0 && layout.in_place < n;
  unsigned char* dst = arena.dst.last(bytes, layout.dst_before);
  if (in_place)
    dst = const_cast<unsigned char*>(static_cast<const unsigned char*>(pointers[layout.in_place]));
  unsigned char* dst2 = layout.second ? arena.dst2.last(bytes, layout.src_before) : nullptr;

  fn(ReduceJob{dst, dst2, pointers.data(), n, count, divisor, layout.store});

  if (bytes != 0 && std::memcmp(dst, expected.data(), bytes) != 0) return "dst differs";
  if (dst2 != nullptr && bytes != 0 && std::memcmp(dst2, expected.data(), bytes) != 0) return "dst2 differs";
  if (!in_place && !arena.dst.only_within(dst, bytes, kPoison)) return "wrote outside dst";
  if (dst2 != nullptr && !arena.dst2.only_within(dst2, bytes, kPoison)) return "wrote outside dst2";
  for (int s = 0; s < n; ++s) {
    if (in_place && s == layout.in_place) continue;
    if (bytes != 0 &&
        std::memcmp(pointers[static_cast<size_t>(s)], sources[static_cast<size_t>(s)].data(), bytes) != 0)
      return "changed a source";
  }
  return {};
}

/// Every layout, on every instruction set, for one type, operator, set of operands and divisor.
void check_all(Arena& arena, DataType type, ReduceOp op, size_t sources, size_t count, uint32_t divisor,
               std::mt19937_64& random) {
  std::vector<Bytes> data;
  for (size_t s = 0; s < sources; ++s) data.push_back(operands::random_elements(type, count, random));
  const Bytes expected = reference::reduce(type, op, data, count, divisor);
  for (const Kernels* kernels : operands::all_kernels()) {
    const auto fn = kernels->reduce[static_cast<size_t>(op)][static_cast<size_t>(type)];
    for (size_t l = 0; l < std::size(kLayouts); ++l) {
      const std::string wrong = run(arena, kLayouts[l], fn, data, count, divisor, expected);
      if (wrong.empty()) continue;
      FAIL(operands::describe(*kernels, type, op)
           << ", " << sources << " sources, " << count << " elements, divisor " << divisor << ", layout " << l
           << ": " << wrong);
    }
  }
}

}  // namespace

TEST_CASE("every reduction equals the scalar reference bit by bit") {
  const auto type = static_cast<DataType>(GENERATE(range(0, tutti::kDataTypes)));
  const auto op = static_cast<ReduceOp>(GENERATE(range(0, tutti::kReduceOps)));
  std::mt19937_64 random(static_cast<uint64_t>(type) * 100 + static_cast<uint64_t>(op));
  Arena arena;
  for (size_t sources : {1, 2, 3, 5, 16}) {
    for (size_t count : {0, 1, 2, 3, 5, 7, 8, 15, 16, 31, 33, 63, 64, 65, 127, 255, 513, 1000, 1031}) {
      check_all(arena, type, op, sources, count, 0, random);
    }
  }
  SUCCEED();
}

TEST_CASE("avg divides once, after the sum") {
  const auto type = static_cast<DataType>(GENERATE(range(0, tutti::kDataTypes)));
  std::mt19937_64 random(static_cast<uint64_t>(type) + 77);
  Arena arena;
  for (uint32_t divisor : {1u, 2u, 3u, 5u, 7u, 16u, 127u, 128u, 129u, 255u, 256u, 1000u, 32768u, 65535u,
                           65536u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    for (size_t sources : {1, 2, 3, 16}) {
      for (size_t count : {1, 9, 64, 1031})
        check_all(arena, type, ReduceOp::avg, sources, count, divisor, random);
    }
  }
  SUCCEED();
}

TEST_CASE("a divisor means nothing to the other operators") {
  std::mt19937_64 random(5);
  Arena arena;
  for (auto op : {ReduceOp::sum, ReduceOp::prod, ReduceOp::min, ReduceOp::max}) {
    for (int type = 0; type < tutti::kDataTypes; ++type) {
      check_all(arena, static_cast<DataType>(type), op, 1, 100, 4, random);
      check_all(arena, static_cast<DataType>(type), op, 2, 100, 4, random);
    }
  }
  SUCCEED();
}

TEST_CASE("all 16-bit floats survive widening and narrowing") {
  // x + (-0) is x: for every bit pattern the sum must give x back, and the canonical NaN for a NaN.
  for (auto type : {DataType::float16, DataType::bfloat16}) {
    std::vector<Bytes> data(2, Bytes(2 * 65536));
    for (unsigned i = 0; i < 65536; ++i) {
      const auto x = static_cast<uint16_t>(i), zero = static_cast<uint16_t>(0x8000);
      std::memcpy(data[0].data() + 2 * i, &x, 2);
      std::memcpy(data[1].data() + 2 * i, &zero, 2);
    }
    const unsigned infinity = type == DataType::float16 ? 0x7c00 : 0x7f80;
    for (const Kernels* kernels : operands::all_kernels()) {
      std::vector<uint16_t> sum(65536);
      const void* src[] = {data[0].data(), data[1].data()};
      kernels->reduce[0][static_cast<size_t>(type)]({sum.data(), nullptr, src, 2, 65536, 0, Store::cached});
      unsigned wrong = 0;
      for (unsigned i = 0; i < 65536; ++i) {
        const unsigned nan = type == DataType::float16 ? 0x7e00 : 0x7fc0;
        wrong += sum[i] != ((i & 0x7fff) > infinity ? nan : i);
      }
      INFO(operands::describe(*kernels, type, ReduceOp::sum));
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("narrowing to 16 bits rounds to nearest even over the whole range") {
  // Averages of one operand by a divisor give float32 values between representable ones, subnormals included.
  for (auto type : {DataType::float16, DataType::bfloat16}) {
    std::vector<Bytes> data(1, Bytes(2 * 65536));
    for (unsigned i = 0; i < 65536; ++i) {
      const auto x = static_cast<uint16_t>(i);
      std::memcpy(data[0].data() + 2 * i, &x, 2);
    }
    for (uint32_t divisor : {2u, 3u, 4u, 6u, 7u, 1023u, 1024u, 65536u}) {
      const Bytes expected = reference::reduce(type, ReduceOp::avg, data, 65536, divisor);
      for (const Kernels* kernels : operands::all_kernels()) {
        Bytes result(expected.size());
        const void* src[] = {data[0].data()};
        const auto fn = kernels->reduce[static_cast<size_t>(ReduceOp::avg)][static_cast<size_t>(type)];
        fn({result.data(), nullptr, src, 1, 65536, divisor, Store::cached});
        INFO(operands::describe(*kernels, type, ReduceOp::avg) << " divisor " << divisor);
        CHECK(result == expected);
      }
    }
  }
}

TEST_CASE("named kernels") {
  CHECK(tutti::reduce::kernels("portable") != nullptr);
  CHECK(tutti::reduce::kernels("no such set") == nullptr);
  CHECK(tutti::reduce::kernels(tutti::reduce::kernels().name) == &tutti::reduce::kernels());
  for (const Kernels* kernels : operands::all_kernels())
    CHECK(tutti::reduce::kernels(kernels->name) == kernels);
}
