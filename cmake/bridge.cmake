# The Rust crate in bridge/ as a static library with a C ABI. cargo decides by itself whether there is work; all
# presets share one target folder, because the crates take minutes and have no C++ in them that a preset changes.
execute_process(
  COMMAND ${CMAKE_SOURCE_DIR}/tools/find_cargo.sh
  OUTPUT_VARIABLE cargo_folder OUTPUT_STRIP_TRAILING_WHITESPACE
  COMMAND_ERROR_IS_FATAL ANY)
set(bridge_target_dir ${CMAKE_SOURCE_DIR}/build/bridge)
set(bridge_lib ${bridge_target_dir}/release/libhadal_bridge.a)
file(GLOB_RECURSE bridge_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bridge/src/*.rs)
add_custom_command(
  OUTPUT ${bridge_lib}
  COMMAND ${CMAKE_COMMAND} -E env "PATH=${cargo_folder}:$ENV{PATH}"
          cargo build --release --locked --quiet --manifest-path ${CMAKE_SOURCE_DIR}/bridge/Cargo.toml
          --target-dir ${bridge_target_dir}
  COMMAND ${CMAKE_COMMAND} -E touch_nocreate ${bridge_lib}  # cargo leaves an unchanged library's time alone
  DEPENDS ${bridge_sources} ${CMAKE_SOURCE_DIR}/bridge/Cargo.toml ${CMAKE_SOURCE_DIR}/bridge/Cargo.lock
  COMMENT "Rust bridge: tokenizers, minijinja, llguidance (minutes the first time)"
  USES_TERMINAL VERBATIM)
add_custom_target(hadal_bridge_build DEPENDS ${bridge_lib})
add_library(hadal_bridge INTERFACE)
add_dependencies(hadal_bridge hadal_bridge_build)
target_include_directories(hadal_bridge INTERFACE ${CMAKE_SOURCE_DIR}/bridge/include)
target_link_libraries(hadal_bridge INTERFACE ${bridge_lib} Threads::Threads ${CMAKE_DL_LIBS} m)
