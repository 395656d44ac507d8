#pragma once

#include <string>

namespace hadal::io {

/// What --model names: a folder as it is, or `org/name` in the local Hugging Face cache ($HF_HUB_CACHE, else
/// $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub), as the snapshot that refs/main
/// points to. Throws kIo: with the exact `hf download` command when it is not there, and for a path that exists but is
/// not a readable folder.
std::string find_model_folder(const std::string& model);

}  // namespace hadal::io
