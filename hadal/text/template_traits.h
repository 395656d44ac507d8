#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hadal/core/json.h"
#include "hadal/text/chat_template.h"
#include "hadal/text/tool_calls.h"

namespace hadal::text {

enum class Thinking : uint8_t {
  kModel,   // the prompt leaves it to the model whether it writes <think>
  kAlways,  // the prompt always ends inside <think>
  kSwitch,  // `thinking` or `enable_thinking` decides
};

/// What a chat template does with what it is given.
struct TemplateTraits {
  ToolFormat tool_format = ToolFormat::kNone;
  bool renders_tools = false;        // describes `tools` by itself
  bool text_with_calls = false;      // a message may have both text and calls; else its calls get lost
  bool arguments_as_object = false;  // prints a call's arguments with tojson
  bool keeps_reasoning = false;      // reads a message's reasoning_content
  Thinking thinking = Thinking::kModel;
};

/// Found by rendering small conversations and looking at what comes out, so that it also holds for a template that was
/// altered. A conversation that the template refuses says no. Takes milliseconds: to be done once.
TemplateTraits find_traits(const ChatTemplate& chat_template);

/// The template_args that ask for thoughts or for none; an empty object where there is no wish or no switch. Whether
/// the prompt then begins inside thoughts, ends_in_thinking() says of the rendered one.
json thinking_args(const TemplateTraits& traits, std::optional<bool> thinking);

}  // namespace hadal::text
