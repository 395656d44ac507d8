# hadal_layer(name LINK libs...): hadal/<name>/*.cc as static library hadal_<name>, and hadal/<name>/*_test.cc as
# one test binary, so that a test links fast.
function(hadal_layer name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB all CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/hadal/${name}/*.cc)
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER all EXCLUDE REGEX "_test\\.cc$")
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")  # the reference row is all that other machines have
    list(FILTER all EXCLUDE REGEX "kernels/(rows|[a-z0-9_]+\\.(avx2|avx2_vnni|avx512|amx))\\.cc$")
  endif()
  add_library(hadal_${name} STATIC ${all})
  target_link_libraries(hadal_${name} PUBLIC hadal_options ${ARG_LINK})
  if(name STREQUAL serve OR (HADAL_SANITIZE AND NOT name STREQUAL kernels))
    hadal_together(hadal_${name})
  endif()
  if(tests)
    hadal_test(hadal_${name}_test SOURCES ${tests} LINK hadal_${name})
  endif()
endfunction()

# hadal_test(name SOURCES files... LINK libs...): one ctest entry. Tests run in the source folder, so that they
# name their data as a reader of the repository would.
function(hadal_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest_main)
  if(NOT name STREQUAL hadal_kernels_test)  # which has the loops that its kernels are compared with
    hadal_calls_only(${name})
  endif()
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endfunction()
