# Kernels: compiled by nvcc to fat binaries, one for each data type, which the library carries as bytes and gives to the driver.
# No CUDA language of CMake and no CUDA run-time library: nothing of CUDA is linked.

set(TUTTI_CUDA_ARCHITECTURES "90" CACHE STRING "Compute capabilities to compile kernels for, as 80;90; PTX of the last is added")

set(TUTTI_KERNEL_TYPES int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 bfloat16 float32 float64 float8_e4m3
                       float8_e5m2 CACHE INTERNAL "Element types that have kernels")

# Sets `result` to nvcc's options for the architectures.
function(tutti_gencode result)
  set(options)
  foreach(architecture ${TUTTI_CUDA_ARCHITECTURES})
    list(APPEND options -gencode arch=compute_${architecture},code=sm_${architecture})
    set(last ${architecture})
  endforeach()
  list(APPEND options -gencode arch=compute_${last},code=compute_${last})
  set(${result} ${options} PARENT_SCOPE)
endfunction()

# tutti_kernels(OUT_SOURCE file DIRECTORY folder-of-kernels.cu): makes a C++ source that holds all images. Beside each image lies
# TYPE.resources, what the assembler says of registers and spills.
function(tutti_kernels)
  cmake_parse_arguments(arg "" "OUT_SOURCE;DIRECTORY" "" ${ARGN})
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/kernels)
  file(MAKE_DIRECTORY ${folder})
  tutti_gencode(gencode)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/collectives/executors/cuda/*.h)
  list(APPEND headers ${PROJECT_SOURCE_DIR}/collectives/plan/cursor.h ${PROJECT_SOURCE_DIR}/collectives/plan/binding.h
       ${PROJECT_SOURCE_DIR}/collectives/plan/plan.h ${PROJECT_SOURCE_DIR}/collectives/plan/pool.h
       ${PROJECT_SOURCE_DIR}/collectives/plan/program.h ${PROJECT_SOURCE_DIR}/transports/cuda_ipc/window.h
       ${PROJECT_SOURCE_DIR}/transports/cuda_ipc/fifo.h
       ${PROJECT_SOURCE_DIR}/transports/tag.h ${PROJECT_SOURCE_DIR}/core/types.h)
  set(images)
  foreach(type ${TUTTI_KERNEL_TYPES})
    set(image ${folder}/${type}.fatbin)
    add_custom_command(
      OUTPUT ${image}
      COMMAND ${PROJECT_SOURCE_DIR}/scripts/compile_kernels.sh ${CUDAToolkit_NVCC_EXECUTABLE} ${image} ${folder}/${type}.resources
              -std=c++20 -O3 --expt-relaxed-constexpr -I${PROJECT_SOURCE_DIR} -DTUTTI_KERNEL_TYPE=${type} ${gencode}
              ${arg_DIRECTORY}/kernels.cu
      DEPENDS ${arg_DIRECTORY}/kernels.cu ${headers} ${PROJECT_SOURCE_DIR}/scripts/compile_kernels.sh
      COMMENT "Compiling kernels of ${type}"
      VERBATIM)
    list(APPEND images ${image})
    string(APPEND TUTTI_IMAGE_BLOCKS
           "asm(\".section .rodata\\n.balign 64\\n.globl tutti_kernels_${type}\\n.hidden tutti_kernels_${type}\\ntutti_kernels_${type}:\\n.incbin \\\"${image}\\\"\\n.previous\");\n")
    string(APPEND TUTTI_IMAGE_DECLARATIONS "extern const unsigned char tutti_kernels_${type}[];\n")
    list(APPEND names tutti_kernels_${type})
  endforeach()
  add_custom_target(tutti_kernels DEPENDS ${images})
  list(JOIN names ", " TUTTI_IMAGE_NAMES)
  configure_file(${arg_DIRECTORY}/images.cpp.in ${arg_OUT_SOURCE} @ONLY)
  set_source_files_properties(${arg_OUT_SOURCE} PROPERTIES OBJECT_DEPENDS "${images}")
endfunction()
