# The binary and the model it falls back to; the binary looks for it at ../share/hadal/models/tiny-chat from its folder.
include(GNUInstallDirs)
install(TARGETS hadal RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/models/tiny-chat DESTINATION ${CMAKE_INSTALL_DATADIR}/hadal/models)
