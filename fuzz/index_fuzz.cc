#include <stdexcept>
#include <string>
#include <string_view>

#include "fuzz/fuzz_main.h"

#include "hadal/io/shard_index.h"

namespace {

// Whatever an accepted index says, it names files of its own folder only.
void run(std::string_view text) {
  for (const auto& [tensor, file] : hadal::io::parse_shard_index(text, "index")) {
    if (!file.ends_with(".safetensors") ||
        file.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      throw std::logic_error("a file name leads out of the folder: " + file);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return hadal::fuzz::fuzz_main(
      argc, argv,
      {.name = "fuzz_index",
       .seeds =
           {R"({"metadata":{},"weight_map":{}})",
            R"({"weight_map":{"lm_head.weight":"model.safetensors"},"metadata":{"total_size":12345,"format":"pt"}})",
            R"({
  "metadata": {"total_size": 1369062772000, "total_parameters": 684531386000, "x": null, "y": true},
  "weight_map": {
    "model.embed_tokens.weight": "model-00001-of-000163.safetensors",
    "model.layers.0.self_attn.q_a_proj.weight": "model-00001-of-000163.safetensors",
    "model.layers.0.self_attn.q_a_proj.weight_scale_inv": "model-00002-of-000163.safetensors"
  }
}
)"},
       .dictionary = {"\"metadata\"",
                      "\"weight_map\"",
                      ".safetensors\"",
                      "\"../",
                      "/",
                      "\\u002f",
                      "\\\\",
                      "\\u0000",
                      "{",
                      "}",
                      "[",
                      "]",
                      ",",
                      ":",
                      "\"",
                      "null",
                      "true",
                      "{}",
                      "\"a\":\"b.safetensors\",",
                      "\"weight_map\":{},",
                      std::string(1, '\0'),
                      "\xef\xbb\xbf"},
       .run = run});
}
