#include "hadal/serve/web_ui.h"

namespace hadal::serve {

const WebFile* find_web_file(std::string_view path) {
  for (const WebFile& file : web_files())  // some twenty: nothing to gain by anything cleverer
    if (file.path == path) return &file;
  return nullptr;
}

}  // namespace hadal::serve
