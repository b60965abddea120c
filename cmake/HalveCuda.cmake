# The CUDA module, decided by HALVE_CUDA. AUTO must never fail a build: it uses nvcc only after a
# trial compile of this project's own source has worked, and says in the log what it chose.

# Lets a kernel call what is constexpr in the contracts' headers.
set(HALVE_CUDA_FLAGS --expt-relaxed-constexpr)

# Sets HALVE_CUDA_PROBLEM to why CUDA code cannot be built here, or to an empty string.
# A macro, because enable_language must run in the caller's scope.
macro(halve_find_cuda)
  set(HALVE_CUDA_PROBLEM "")
  halve_asked_architectures()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(HALVE_CUDA_PROBLEM "no working nvcc (looked in CUDACXX, PATH and /usr/local/cuda)")
  else()
    enable_language(CUDA)
    find_package(CUDAToolkit QUIET)
    if(NOT TARGET CUDA::cudart_static)
      set(HALVE_CUDA_PROBLEM "the toolkit of ${CMAKE_CUDA_COMPILER} has no static CUDA runtime")
    elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
      set(HALVE_CUDA_PROBLEM "nvcc ${CMAKE_CUDA_COMPILER_VERSION} is older than 12.4")
    else()
      halve_cuda_architectures()
      halve_try_cuda()
    endif()
  endif()
endmacro()

# What CMake itself goes by, where somebody has set it; enabling the language gives it a default.
function(halve_asked_architectures)
  set(asked "$ENV{CUDAARCHS}")
  if(CMAKE_CUDA_ARCHITECTURES)
    set(asked "${CMAKE_CUDA_ARCHITECTURES}")
  endif()
  if(asked)
    set(HALVE_CUDA_ARCHITECTURES "${asked}" CACHE STRING "CUDA architectures to build for")
  endif()
endfunction()

# Machine code for every major architecture that the toolkit and this project share (8.0's runs on
# 8.6 and 8.9, too), and PTX of the newest, so that later devices run it. CUDA 13 dropped what is
# older than 7.5.
function(halve_cuda_architectures)
  set(list 75-real 80-real)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
    list(APPEND list 90-real 100-real 120)
  else()
    list(APPEND list 90)
  endif()
  set(HALVE_CUDA_ARCHITECTURES "${list}" CACHE STRING "CUDA architectures to build for")
endfunction()

# Compiles and links this project's own source: a compiler test of CMake's would not notice a
# missing header, an unknown architecture or a toolkit without its static runtime. Then a file of
# kernels, for one architecture, because of what they ask of the language.
function(halve_try_cuda)
  set(CMAKE_CUDA_ARCHITECTURES "${HALVE_CUDA_ARCHITECTURES}")
  set(main "${CMAKE_CURRENT_BINARY_DIR}/try_cuda_main.cu")
  file(WRITE "${main}" "int main() { return 0; }\n")
  try_compile(HALVE_CUDA_COMPILES "${CMAKE_CURRENT_BINARY_DIR}/try_cuda"
    SOURCES "${CMAKE_CURRENT_SOURCE_DIR}/cuda/device.cu" "${main}"
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${CMAKE_CURRENT_SOURCE_DIR}"
    CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON
    OUTPUT_VARIABLE log)
  if(NOT HALVE_CUDA_COMPILES)
    set(HALVE_CUDA_PROBLEM "nvcc failed on csrc/cuda/device.cu: ${log}" PARENT_SCOPE)
    return()
  endif()
  execute_process(
    COMMAND "${CMAKE_CUDA_COMPILER}" -std=c++17 ${HALVE_CUDA_FLAGS} -cubin -arch=sm_75
      "-I${CMAKE_CURRENT_SOURCE_DIR}" "-I${CMAKE_CURRENT_SOURCE_DIR}/include"
      "${CMAKE_CURRENT_SOURCE_DIR}/cuda/cast.cu" -o "${CMAKE_CURRENT_BINARY_DIR}/try_cuda.cubin"
    RESULT_VARIABLE failed OUTPUT_VARIABLE log ERROR_VARIABLE log)
  if(failed)
    set(HALVE_CUDA_PROBLEM "nvcc failed on csrc/cuda/cast.cu: ${log}" PARENT_SCOPE)
  endif()
endfunction()

function(halve_add_cuda_module)
  file(GLOB sources CONFIGURE_DEPENDS
    "${CMAKE_CURRENT_SOURCE_DIR}/cuda/*.cu" "${CMAKE_CURRENT_SOURCE_DIR}/cuda/*.cc")
  add_library(halve_cuda STATIC ${sources})
  target_include_directories(halve_cuda PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}")
  target_link_libraries(halve_cuda PUBLIC halve_core)
  # A product and a sum are fused only where a kernel says so: results are those of the processor.
  target_compile_options(halve_cuda PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:${HALVE_CUDA_FLAGS};--fmad=false>")
  halve_set_warnings(halve_cuda)
  set_target_properties(halve_cuda PROPERTIES
    CUDA_ARCHITECTURES "${HALVE_CUDA_ARCHITECTURES}"
    CUDA_STANDARD 17 # CMake knows 20 for nvcc only from 3.26 on
    CUDA_STANDARD_REQUIRED ON
    CUDA_RUNTIME_LIBRARY Static)
  # Linked statically: importing the module then needs no toolkit, and the driver is looked up
  # only by the first call.
  target_link_libraries(halve_cuda PUBLIC CUDA::cudart_static)
  file(GLOB bindings CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/bindings/cuda_*.cc")
  pybind11_add_module(_cuda ${bindings})
  target_link_libraries(_cuda PRIVATE halve_cuda)
  set_target_properties(_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static)
  halve_set_warnings(_cuda)
  install(TARGETS _cuda LIBRARY DESTINATION halve)
endfunction()

if(NOT HALVE_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "HALVE_CUDA is '${HALVE_CUDA}'; allowed: AUTO, ON, OFF")
elseif(HALVE_CUDA STREQUAL "OFF" OR NOT HALVE_BUILD_PYTHON)
  message(STATUS "halve: CUDA module not built (HALVE_CUDA=${HALVE_CUDA})")
else()
  halve_find_cuda()
  if(HALVE_CUDA_PROBLEM AND HALVE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "HALVE_CUDA=ON, but ${HALVE_CUDA_PROBLEM}. "
      "Install the CUDA toolkit (12.4 or newer), set CUDACXX to its nvcc, or use HALVE_CUDA=OFF.")
  elseif(HALVE_CUDA_PROBLEM)
    message(STATUS "halve: CUDA module not built (HALVE_CUDA=AUTO): ${HALVE_CUDA_PROBLEM}")
  else()
    message(STATUS "halve: CUDA module built with nvcc ${CMAKE_CUDA_COMPILER_VERSION} "
      "for ${HALVE_CUDA_ARCHITECTURES} (HALVE_CUDA=${HALVE_CUDA})")
    halve_add_cuda_module()
  endif()
endif()
