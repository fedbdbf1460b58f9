// All-reduce on a GPU: several ranks in this process, all on the current device, their calls in one group.
//
//     ./hello_cuda [ranks]
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <tutti/tutti.hpp>
#include <vector>

namespace {

void check(cudaError_t result) {
  if (result == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(result));
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) try {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("SKIPPED: no CUDA device\n");
    return 0;
  }
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 4;
  constexpr int64_t kCount = 1 << 20;

  tutti::Config config;
  config.device = 0;
  auto comms = tutti::Communicator::create_local(ranks, config);
  std::vector<float*> data(comms.size());
  std::vector<cudaStream_t> streams(comms.size());
  for (size_t r = 0; r < comms.size(); ++r) {
    check(cudaStreamCreate(&streams[r]));
    check(cudaMalloc(&data[r], kCount * sizeof(float)));
    const std::vector<float> mine(kCount, static_cast<float>(r + 1));
    check(cudaMemcpy(data[r], mine.data(), kCount * sizeof(float), cudaMemcpyHostToDevice));
  }

  tutti::Group group;
  for (size_t r = 0; r < comms.size(); ++r) {
    comms[r].all_reduce(data[r], data[r], kCount, TUTTI_FLOAT32, TUTTI_SUM, streams[r]);
  }
  group.end();

  int wrong = 0;
  const float wanted = static_cast<float>(ranks) * static_cast<float>(ranks + 1) / 2;
  for (size_t r = 0; r < comms.size(); ++r) {
    check(cudaStreamSynchronize(streams[r]));
    comms[r].query();  // throws what the kernels have found wrong
    std::vector<float> sum(kCount);
    check(cudaMemcpy(sum.data(), data[r], kCount * sizeof(float), cudaMemcpyDeviceToHost));
    for (const float value : sum) wrong += value != wanted ? 1 : 0;
  }
  std::printf("%d ranks on device 0: the sum is %g, %d elements are wrong\n", ranks,
              static_cast<double>(wanted), wrong);
  comms.clear();
  for (size_t r = 0; r < data.size(); ++r) {
    check(cudaFree(data[r]));
    check(cudaStreamDestroy(streams[r]));
  }
  return wrong == 0 ? 0 : 1;
} catch (const tutti::Exception& e) {
  std::fprintf(stderr, "%s: %s\n", tutti_result_name(e.code()), e.what());
  return 1;
}
