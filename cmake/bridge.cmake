# The Rust crate in bridge/ as a static library with a C ABI. cargo decides by itself whether there is work.
find_program(CARGO cargo REQUIRED HINTS $ENV{HOME}/.cargo/bin)
set(bridge_target_dir ${CMAKE_BINARY_DIR}/bridge)
set(bridge_lib ${bridge_target_dir}/release/libhadal_bridge.a)
file(GLOB_RECURSE bridge_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bridge/src/*.rs)
add_custom_command(
  OUTPUT ${bridge_lib}
  COMMAND ${CARGO} build --release --locked --quiet --manifest-path ${CMAKE_SOURCE_DIR}/bridge/Cargo.toml
          --target-dir ${bridge_target_dir}
  DEPENDS ${bridge_sources} ${CMAKE_SOURCE_DIR}/bridge/Cargo.toml ${CMAKE_SOURCE_DIR}/bridge/Cargo.lock
  COMMENT "Rust bridge: tokenizers, minijinja, llguidance"
  USES_TERMINAL)
add_custom_target(hadal_bridge_build DEPENDS ${bridge_lib})
add_library(hadal_bridge INTERFACE)
add_dependencies(hadal_bridge hadal_bridge_build)
target_include_directories(hadal_bridge INTERFACE ${CMAKE_SOURCE_DIR}/bridge/include)
target_link_libraries(hadal_bridge INTERFACE ${bridge_lib} Threads::Threads ${CMAKE_DL_LIBS} m)
