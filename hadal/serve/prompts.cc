#include "hadal/serve/prompts.h"

#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

constexpr size_t kMaxPrompts = 1024;

Prompt from_text(const Service& service, const std::string& text, bool add_special) {
  return {text, service.tokenizer.encode(text, add_special)};
}

Prompt from_ids(const Service& service, const json& ids) {
  Prompt prompt;
  for (const json& id : ids) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= service.config.vocab_size) {
      throw ApiError(400,
                     fmt::format("prompt: expected token ids from 0 to {}, found {}",
                                 service.config.vocab_size - 1, id.dump()),
                     "prompt");
    }
    prompt.ids.push_back(id.get<int32_t>());
  }
  std::vector<int32_t> known;  // a padded vocabulary has ids without a token
  for (const int32_t id : prompt.ids) {
    if (id < service.tokenizer.vocab_size()) known.push_back(id);
  }
  prompt.text = service.tokenizer.decode(known, true);
  return prompt;
}

}  // namespace

std::vector<Prompt> read_prompts(const Service& service, const json& prompt, bool add_special) {
  std::vector<Prompt> prompts;
  const bool ids = prompt.is_array() && !prompt.empty() && prompt[0].is_number();
  if (prompt.is_string()) {
    prompts.push_back(from_text(service, prompt.get_ref<const std::string&>(), add_special));
  } else if (ids) {
    prompts.push_back(from_ids(service, prompt));
  } else if (prompt.is_array() && prompt.size() <= kMaxPrompts) {
    for (const json& entry : prompt) {
      if (!entry.is_string() && !entry.is_array())
        throw ApiError(400, fmt::format("prompt: expected text or token ids, found {}", entry.type_name()),
                       "prompt");
      prompts.push_back(entry.is_string()
                            ? from_text(service, entry.get_ref<const std::string&>(), add_special)
                            : from_ids(service, entry));
    }
  }
  if (prompts.empty())
    throw ApiError(
        400, fmt::format("prompt: expected text, token ids, or a list of up to {} of either", kMaxPrompts),
        "prompt");
  for (const Prompt& one : prompts) {
    if (one.ids.empty()) throw ApiError(400, "prompt: expected at least one token, found none", "prompt");
  }
  return prompts;
}

Prompt fill_in_prompt(const Service& service, const std::string& prefix, const std::string& suffix) {
  std::vector<int32_t> marks;
  for (const char* name : {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}) {
    const auto id = service.tokenizer.token_id(name);
    if (!id)
      throw ApiError(400,
                     fmt::format("suffix: this model was not made to fill in: its tokenizer has no {}", name),
                     "suffix");
    marks.push_back(*id);
  }
  Prompt prompt{prefix, {}};
  const auto add = [&](const std::vector<int32_t>& ids) {
    prompt.ids.insert(prompt.ids.end(), ids.begin(), ids.end());
  };
  if (service.tokenizer.bos_token_id()) add({*service.tokenizer.bos_token_id()});
  add({marks[0]});
  add(service.tokenizer.encode(prefix));
  add({marks[1]});
  add(service.tokenizer.encode(suffix));
  add({marks[2]});
  return prompt;
}

}  // namespace hadal::serve
