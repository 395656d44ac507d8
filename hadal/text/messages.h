#pragma once

#include "hadal/core/json.h"
#include "hadal/text/template_traits.h"

namespace hadal::text {

/// A request's `messages`, checked and put into the form that the model's template reads:
///
///   content            lists of text parts are joined by newlines; absent is "", and null beside tool_calls
///   role               developer is system; function, and an assistant's function_call, are tool and tool_calls
///   tool_calls         none is no key; arguments are a string, or an object where the template prints one
///   reasoning_content  (or `reasoning`) stays where the template reads it
///
/// A template that shows no calls gets them as text, results as a user's message; one that loses the calls of a message
/// with text gets two messages. Other keys stay as they are.
/// Throws kRequest for anything else, with the path: messages[2].content[0].type.
json normalise_messages(const json& messages, const TemplateTraits& traits);

}  // namespace hadal::text
