# Adds the vector kernels of this machine's architecture to `target`: every csrc/kernels/*/<isa>.cc,
# each compiled for its own instruction set and for no other file. HALVE_HAS_<ISA> tells the
# dispatcher which ones there are.
function(halve_add_vector_kernels target)
  set(gnu_like FALSE)
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    set(gnu_like TRUE)
  endif()
  # No contraction: a product and a sum are fused only where the kernel says so.
  set(common -ffp-contract=off)
  if(gnu_like AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT APPLE)
    _halve_add_isa(${target} avx2 "${common};-mavx2;-mf16c;-mfma")
    _halve_add_isa(${target} avx512
      "${common};-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx2;-mf16c;-mfma;-mprefer-vector-width=512")
  elseif(gnu_like AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    _halve_add_isa(${target} neon "${common}")
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
