# The website in web/: npm's packages by web/package-lock.json, esbuild's bundle, and a generated source that puts the
# result into the binary. All presets share the bundle, as they share the bridge.
find_program(NPM npm)
find_program(NODE NAMES node nodejs)
if(NOT NPM OR NOT NODE)
  message(FATAL_ERROR "npm and node (18 or newer) build the website: tools/install_deps.sh installs them")
endif()
set(web_dir ${CMAKE_SOURCE_DIR}/web)
set(web_out ${CMAKE_SOURCE_DIR}/build/web)
set(web_packages ${web_dir}/node_modules/.package-lock.json)  # npm writes it last
file(GLOB_RECURSE web_sources CONFIGURE_DEPENDS ${web_dir}/src/*)
add_custom_command(
  OUTPUT ${web_packages}
  COMMAND ${NPM} ci --no-audit --no-fund --ignore-scripts --loglevel=error
  COMMAND ${CMAKE_COMMAND} -E touch ${web_packages}
  DEPENDS ${web_dir}/package.json ${web_dir}/package-lock.json
  WORKING_DIRECTORY ${web_dir}
  COMMENT "Packages of the website"
  VERBATIM)
# web_files.cc has the table, web_files.bin the bytes: .incbin takes no time, an array of numbers would take seconds.
set(web_table ${web_out}/web_files.cc)
add_custom_command(
  OUTPUT ${web_table}
  BYPRODUCTS ${web_out}/web_files.bin
  COMMAND ${NODE} ${web_dir}/tools/build.mjs ${web_out}
  DEPENDS ${web_packages} ${web_sources} ${web_dir}/tools/build.mjs
  COMMENT "Website"
  VERBATIM)
add_custom_target(hadal_web DEPENDS ${web_table})
target_sources(hadal_serve PRIVATE ${web_table})
add_dependencies(hadal_serve hadal_web)

add_test(NAME web_types COMMAND ${NODE} ${web_dir}/node_modules/typescript/bin/tsc --noEmit -p ${web_dir})
add_test(NAME web_test COMMAND ${NODE} ${web_dir}/tools/test.mjs)
