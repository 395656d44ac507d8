# One interface target with everything that all our code is compiled with.
add_library(hadal_options INTERFACE)
target_include_directories(hadal_options INTERFACE ${CMAKE_SOURCE_DIR})
# -ffp-contract=off: a fused multiply-add rounds once instead of twice, so a compiler that is free to fuse
# would give other bits on another machine. -fno-math-errno lets sqrt be one instruction; it changes no value.
target_compile_options(
  hadal_options INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor
                          -ffp-contract=off -fno-math-errno)
if(HADAL_WERROR)
  target_compile_options(hadal_options INTERFACE -Werror)
endif()
if(HADAL_SANITIZE)
  target_compile_options(hadal_options INTERFACE -fsanitize=${HADAL_SANITIZE} -fno-omit-frame-pointer
                                                 -fno-sanitize-recover=all)
  target_compile_definitions(hadal_options INTERFACE HADAL_SANITIZED)
  target_link_options(hadal_options INTERFACE -fsanitize=${HADAL_SANITIZE})
  # Clang 14 cannot assemble its check of called functions' types in a coroutine.
  if(HADAL_SANITIZE MATCHES undefined AND CMAKE_CXX_COMPILER_ID MATCHES Clang)
    target_compile_options(hadal_options INTERFACE -fno-sanitize=function)
  endif()
endif()

# hadal_together(target): its sources are compiled eight at a time, because what they include takes most of the time: the
# server and the commands always, with Asio, CLI11 and the JSON library; the other layers in sanitizers' builds, but for the
# kernels, whose sources have flags of their own.
function(hadal_together name)
  set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)  # which takes a source that is included for a header
    target_compile_options(${name} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()

# hadal_calls_only(target): it calls the layers and has no loops of its own. It is optimised less, and not at all in the
# sanitizers' builds: two thirds and one third of the time to compile.
function(hadal_calls_only name)
  if(HADAL_SANITIZE)
    target_compile_options(${name} PRIVATE -O0)
  elseif(CMAKE_BUILD_TYPE STREQUAL Release)
    target_compile_options(${name} PRIVATE -O1)
  endif()
endfunction()
