# Warnings for the project's own targets. They are not errors: a newer compiler must not break a
# user's build; .ci/run builds the C++ tests with -Werror.
function(halve_set_warnings target)
  if(MSVC)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:/W4>)
  else()
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wconversion>)
  endif()
endfunction()
