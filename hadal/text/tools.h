#pragma once

#include <cstdint>
#include <string>

#include "hadal/core/json.h"
#include "hadal/text/tokenizer.h"
#include "hadal/text/tool_calls.h"

namespace hadal::text {

/// A request's `tools`, checked, each with a description and parameters, which some templates rely on; [] for null.
/// Throws kRequest, with the path, for more than 128, for a type other than function, for a name that is absent, not
/// made of A-Z a-z 0-9 _ - or longer than 64, for two of one name, for parameters that are not an object's schema.
json normalise_tools(const json& tools);

/// A request's `tool_choice` and `parallel_tool_calls`.
struct ToolChoice {
  enum class Kind : uint8_t { kNone, kAuto, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string name{};    // of kNamed
  bool parallel = true;  // more than one call in an answer; kNamed is always one
};

/// From OpenAI's tool_choice; null is auto with tools and none without. Throws kRequest for anything else, for a name
/// that no tool has, and for required without tools. parallel stays true.
ToolChoice read_tool_choice(const json& tool_choice, const json& tools);

/// A grammar (Grammar::Kind::kLark) of an answer, thoughts not included, that calls as the choice demands, with
/// arguments that fit the tools' schemas. kAuto: text, then perhaps calls. Of a schema's keywords that the grammar
/// cannot express, `strict` tools get an error when it is compiled, others have them ignored.
/// Tags that are tokens of the tokenizer are demanded as tokens. Empty, so no constraint, for kNone, without tools, and
/// for kAuto where the tags are no tokens, because text cannot be told from calls there.
std::string tool_grammar(ToolFormat format, const json& tools, const ToolChoice& choice,
                         const Tokenizer& tokenizer);

/// What a system message says about the tools and how to call them, for templates that do not render `tools`.
std::string tools_prompt(ToolFormat format, const json& tools);

/// `messages`, normalised, with the prompt at the end of the first system message, or in a new one at the front.
json with_tools(json messages, const std::string& prompt);

}  // namespace hadal::text
