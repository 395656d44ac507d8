#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "hadal/core/json.h"

namespace hadal::text {

struct RenderOptions {
  bool add_generation_prompt = true;
  const json* tools = nullptr;  // the list that the template sees as `tools`; null: none
  const json* template_args =
      nullptr;  // an object of further variables (V3.1's `thinking`, `documents`); null: none
  std::optional<int64_t> now{};  // what strftime_now formats, seconds since 1970; empty: the clock
};

/// A model's chat template: chat_template.jinja, else tokenizer_config.json's chat_template (a string, or a list of
/// named ones: "default", and "tool_use" when tools are given). Rendered as transformers' apply_chat_template does
/// (trim_blocks, lstrip_blocks, tojson without HTML escapes, raise_exception, strftime_now, bos_token, eos_token, ...).
/// Immutable after load; render may be called from any thread.
class ChatTemplate {
 public:
  /// Throws kCheckpoint when the folder has no template or it does not parse (with line and reason).
  /// `instead`, if not empty: a file's path, or a template's text (which has braces), that is taken in the folder's place.
  static ChatTemplate load(const std::string& folder, const std::string& instead = {});
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// Its text; of several named ones, the "default".
  const std::string& source() const;

  /// The prompt. `messages` is a list of objects in OpenAI's form. Steps, recursion, output size and ranges are
  /// bounded: a template that loops or recurses ends in an Error. Throws kRequest for what the template refuses.
  std::string render(const json& messages, const RenderOptions& options) const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hadal::text
