#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz_main.h"
#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/text/chat_template.h"
#include "hadal/text/grammar.h"
#include "hadal/text/messages.h"
#include "hadal/text/tool_calls.h"
#include "hadal/text/tools.h"

namespace {

using hadal::json;
using hadal::fuzz::Random;
using namespace hadal::text;  // NOLINT(google-build-using-namespace): what is tested

constexpr const char* kModel = "models/tiny-chat";

void promise(bool holds, const char* what) {
  if (!holds) throw std::logic_error(std::string("a broken promise: ") + what);
}

// All pieces, those of a kind joined; `step` bytes of the answer at a time.
std::vector<ToolPiece> parse(std::string_view answer, size_t step) {
  ToolCallParser parser;
  std::vector<ToolPiece> joined;
  const auto take = [&](std::vector<ToolPiece> pieces) {
    for (ToolPiece& piece : pieces) {
      if (!joined.empty() && joined.back().kind == piece.kind && joined.back().index == piece.index) {
        joined.back().text += piece.text;
      } else {
        joined.push_back(std::move(piece));
      }
    }
  };
  for (size_t at = 0; at < answer.size(); at += step) take(parser.push(answer.substr(at, step)));
  take(parser.finish());
  return joined;
}

// Calls are whole and in order, nothing gets lost where there are none, and cuts do not matter.
void check_answer(std::string_view answer) {
  const std::vector<ToolPiece> whole = parse(answer, answer.size() + 1);
  int calls = 0;
  bool open = false;
  for (const ToolPiece& piece : whole) {
    promise(open == (piece.kind == ToolPiece::Kind::kArguments || piece.kind == ToolPiece::Kind::kCallEnd),
            "a piece out of place");
    if (piece.kind == ToolPiece::Kind::kCallBegin) promise(piece.index == calls++, "calls are numbered");
    if (piece.kind == ToolPiece::Kind::kCallBegin) open = true;
    if (piece.kind == ToolPiece::Kind::kCallEnd) open = false;
  }
  promise(!open, "a call has an end");
  if (calls == 0) {
    promise(answer.empty() ? whole.empty() : whole.size() == 1 && whole[0].text == answer, "text is kept");
  }
  for (const size_t step : {1U, 3U, 20U}) {
    const std::vector<ToolPiece> pieces = parse(answer, step);
    promise(pieces.size() == whole.size(), "as many pieces however the text is cut");
    for (size_t i = 0; i < pieces.size(); ++i) {
      promise(pieces[i].kind == whole[i].kind && pieces[i].text == whole[i].text, "cuts do not matter");
    }
  }
}

// A request that is accepted can be rendered, and its grammar is compiled or refused.
void check_request(std::string_view source) {
  static const ChatTemplate chat_template = ChatTemplate::load(kModel);
  static const TemplateTraits traits = find_traits(chat_template);
  static const Tokenizer tokenizer = Tokenizer::load(kModel);
  const json request = hadal::parse_json(source, "request", hadal::ErrorKind::kRequest);
  if (!request.is_object()) hadal::fail(hadal::ErrorKind::kRequest, "no object");
  const json tools = normalise_tools(request.value("tools", json()));
  const ToolChoice choice = read_tool_choice(request.value("tool_choice", json()), tools);
  json messages = normalise_messages(request.value("messages", json()), traits);
  promise(normalise_messages(messages, traits) == messages, "normal messages stay as they are");
  normalise_messages(request.value("messages", json()), {});
  if (!tools.empty()) messages = with_tools(std::move(messages), tools_prompt(traits.tool_format, tools));
  chat_template.render(messages, {});
  const std::string grammar = tool_grammar(traits.tool_format, tools, choice, tokenizer);
  if (!grammar.empty()) Grammar(tokenizer, Grammar::Kind::kLark, grammar);
}

void run(std::string_view input) {
  if (input.starts_with("{\"")) return check_request(input);
  check_answer(input);
}

const std::vector<std::string> words = {"<｜tool▁calls▁begin｜>",
                                        "<｜tool▁calls▁end｜>",
                                        "<｜tool▁call▁begin｜>",
                                        "<｜tool▁call▁end｜>",
                                        "<｜tool▁sep｜>",
                                        "function",
                                        "get_weather",
                                        "```json\n",
                                        "\n```",
                                        "```",
                                        "`",
                                        "{}",
                                        "{\"a\": 1}",
                                        "{",
                                        "}",
                                        "\"",
                                        "\n",
                                        " ",
                                        "<",
                                        "text"};

std::string make(Random& random) {
  std::string answer;
  for (size_t n = 1 + random.below(24); n > 0; --n) answer += random.pick(words);
  return answer;
}

constexpr const char* kRequest =
    R"({"messages":[{"role":"developer","content":"S"},{"role":"user","content":[{"type":"text","text":"U"}]},)"
    R"({"role":"assistant","content":null,"tool_calls":[{"id":"x","type":"function","function":{"name":"f",)"
    R"("arguments":"{\"a\": 1}"}}]},{"role":"tool","tool_call_id":"x","content":"1"}],"tools":[{"type":"function",)"
    R"("function":{"name":"f","description":"D","parameters":{"type":"object","properties":{"a":{"type":"integer"},)"
    R"("b":{"enum":["c",1]}},"required":["a"],"additionalProperties":false},"strict":true}}],)"
    R"("tool_choice":{"type":"function","function":{"name":"f"}}})";

}  // namespace

int main(int argc, char** argv) {
  const json calls = hadal::parse_json(
      R"([{"function":{"name":"f","arguments":"{\"a\": \"```\"}"}},{"function":{"name":"g","arguments":"{}"}}])",
      "calls", hadal::ErrorKind::kInternal);
  return hadal::fuzz::fuzz_main(argc, argv,
                                {.name = "fuzz_tool_calls",
                                 .seeds = {kRequest, write_tool_calls(ToolFormat::kV3, calls),
                                           "Text\n" + write_tool_calls(ToolFormat::kV31, calls)},
                                 .dictionary = words,
                                 .run = run,
                                 .make = make});
}
