// Marks functions that the host and a GPU both run. (Arithmetic marked constexpr needs no mark.)
#pragma once

#if defined(__CUDACC__)
#define TUTTI_HOST_DEVICE __host__ __device__
#else
#define TUTTI_HOST_DEVICE
#endif
