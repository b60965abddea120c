# Adds the vector kernels of this machine's architecture to `target`: every csrc/kernels/*/<isa>.cc,
# each compiled for its own instruction set and for no other file. HALVE_HAS_<ISA> tells the
# dispatcher which ones there are.
function(halve_add_vector_kernels target)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    return()  # the portable kernels alone
  endif()
  # No contraction: a product and a sum are fused only where the kernel says so, and never in the
  # portable kernels, which define the results.
  target_compile_options(${target} PRIVATE -ffp-contract=off)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT APPLE)
    set(avx2 -mavx2 -mf16c -mfma)
    set(avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC 12's own header initializes "undefined" vectors with themselves.
      list(APPEND avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
    _halve_add_isa(${target} avx2 "${avx2}")
    _halve_add_isa(${target} avx512 "${avx2};${avx512}")
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    _halve_add_isa(${target} neon "")
  endif()
endfunction()

function(_halve_add_isa target isa flags)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/csrc/kernels/*/${isa}.cc")
  set_source_files_properties(${sources} TARGET_DIRECTORY ${target}
    PROPERTIES COMPILE_OPTIONS "${flags}")
  target_sources(${target} PRIVATE ${sources})
  string(TOUPPER ${isa} upper)
  target_compile_definitions(${target} PRIVATE HALVE_HAS_${upper}=1)
endfunction()
