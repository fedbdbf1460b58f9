# What Tutti stands on: distribution packages, found here, never downloaded.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)

set(TUTTI_HAVE_MPI OFF)
if(NOT TUTTI_MPI STREQUAL "OFF")
  if(TUTTI_MPI STREQUAL "ON")
    find_package(MPI REQUIRED COMPONENTS C)
  else()
    find_package(MPI QUIET COMPONENTS C)
  endif()
  if(MPI_C_FOUND)
    set(TUTTI_HAVE_MPI ON)
  endif()
endif()
message(STATUS "Tutti: MPI for launch and baseline: ${TUTTI_HAVE_MPI}")

find_package(PkgConfig REQUIRED)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)

# Between nodes. Without it a communicator can span one node only, and says so.
set(TUTTI_HAVE_UCX OFF)
if(NOT TUTTI_UCX STREQUAL "OFF")
  pkg_check_modules(UCX IMPORTED_TARGET ucx>=1.12)
  if(UCX_FOUND)
    set(TUTTI_HAVE_UCX ON)
  elseif(TUTTI_UCX STREQUAL "ON")
    message(FATAL_ERROR "TUTTI_UCX=ON: no UCX 1.12 or later was found by pkg-config (Debian: libucx-dev)")
  endif()
endif()
message(STATUS "Tutti: UCX between nodes: ${TUTTI_HAVE_UCX}")

# Starting under mpirun or srun without MPI. Only the header is used: the library is loaded where it is needed.
set(TUTTI_HAVE_PMIX OFF)
pkg_check_modules(PMIX pmix)
if(PMIX_FOUND)
  set(TUTTI_HAVE_PMIX ON)
endif()
message(STATUS "Tutti: starting by PMIx: ${TUTTI_HAVE_PMIX}")

# CUDA: only the toolkit's headers are used (and nvcc, for the kernels). The driver is loaded at run time, where there is one.
set(TUTTI_HAVE_CUDA OFF)
if(NOT TUTTI_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 12.4 QUIET)
  if(CUDAToolkit_FOUND)
    set(TUTTI_HAVE_CUDA ON)
  elseif(TUTTI_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TUTTI_CUDA=ON: no CUDA toolkit 12.4 or later was found; CUDAToolkit_ROOT says where it is")
  endif()
endif()
message(STATUS "Tutti: CUDA: ${TUTTI_HAVE_CUDA} ${CUDAToolkit_VERSION}")

# RDMA between nodes, past UCX.
set(TUTTI_HAVE_VERBS OFF)
if(NOT TUTTI_VERBS STREQUAL "OFF")
  pkg_check_modules(VERBS IMPORTED_TARGET libibverbs)
  if(VERBS_FOUND)
    set(TUTTI_HAVE_VERBS ON)
  elseif(TUTTI_VERBS STREQUAL "ON")
    message(FATAL_ERROR "TUTTI_VERBS=ON: no libibverbs was found by pkg-config (Debian: libibverbs-dev)")
  endif()
endif()
message(STATUS "Tutti: RDMA between nodes by verbs: ${TUTTI_HAVE_VERBS}")

if(TUTTI_TESTS)
  find_package(Catch2 REQUIRED) # 2.13 and 3 are both accepted, see tests/catch.h
endif()
