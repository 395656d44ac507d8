# The tests that look at the sources instead of running them.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
add_test(NAME check_layers COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tools/check_layers.py)
add_test(NAME check_sizes COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tools/check_sizes.py)
add_test(NAME benchmarks_page COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tools/benchmarks.py --check)
add_test(NAME docs_test COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tests/docs_test.py $<TARGET_FILE:hadal>)

# A header compiles alone. The first line of x.cc includes x.h, which shows it; for the headers without a source of their
# name there is a generated one, built only when this test asks for it, not optimised. One compiler says it for all.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND NOT HADAL_SANITIZE)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/hadal/*/*.h)
  set(header_sources)
  foreach(header ${headers})
    string(REGEX REPLACE "h$" "cc" own ${header})
    if(EXISTS ${own})
      continue()
    endif()
    file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR} ${header})
    string(MAKE_C_IDENTIFIER ${name} source)
    set(source ${CMAKE_BINARY_DIR}/headers/${source}.cc)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include \"@name@\"\n" @ONLY)
    list(APPEND header_sources ${source})
  endforeach()
  add_library(hadal_headers OBJECT EXCLUDE_FROM_ALL ${header_sources})
  target_link_libraries(hadal_headers PRIVATE hadal_text hadal_engine)
  target_compile_options(hadal_headers PRIVATE -O0)
  add_test(NAME headers_compile_alone
           COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR} --target hadal_headers)
endif()
