#include "hadal/text/tool_calls.h"

#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/text/reasoning.h"
#include "hadal/text/text_cases.h"

namespace hadal::text {
namespace {

using Kind = ToolPiece::Kind;

const std::string kBegins = "<｜tool▁calls▁begin｜>", kEnds = "<｜tool▁calls▁end｜>";
const std::string kBegin = "<｜tool▁call▁begin｜>", kEnd = "<｜tool▁call▁end｜>", kSep = "<｜tool▁sep｜>";

std::string v3(const std::string& name, const std::string& arguments) {
  return kBegin + "function" + kSep + name + "\n```json\n" + arguments + "\n```" + kEnd;
}

std::string v31(const std::string& name, const std::string& arguments) {
  return kBegin + name + kSep + arguments + kEnd;
}

// What pieces add up to: neighbours of one kind are joined, calls read `[0 name {arguments}]`.
std::string sum(const std::vector<ToolPiece>& pieces) {
  std::string text;
  int open = -1;
  for (const ToolPiece& piece : pieces) {
    switch (piece.kind) {
      case Kind::kText:
        EXPECT_EQ(open, -1) << "text within a call";
        EXPECT_FALSE(piece.text.empty());
        text += piece.text;
        break;
      case Kind::kCallBegin:
        EXPECT_EQ(open, -1) << "a call within a call";
        open = piece.index;
        text += fmt::format("[{} {} ", open, piece.text);
        break;
      case Kind::kArguments:
        EXPECT_EQ(open, piece.index);
        EXPECT_FALSE(piece.text.empty());
        text += piece.text;
        break;
      case Kind::kCallEnd:
        EXPECT_EQ(open, piece.index);
        open = -1;
        text += "]";
        break;
    }
  }
  EXPECT_EQ(open, -1) << "a call without an end";
  return text;
}

void append(std::vector<ToolPiece>& all, std::vector<ToolPiece> pieces) {
  for (ToolPiece& piece : pieces) all.push_back(std::move(piece));
}

std::string parse(const std::vector<std::string>& parts) {
  ToolCallParser parser;
  std::vector<ToolPiece> pieces;
  for (const std::string& part : parts) append(pieces, parser.push(part));
  append(pieces, parser.finish());
  return sum(pieces);
}

struct Case {
  std::string text, expected;
};

std::vector<Case> well_formed() {
  const std::string weather = R"({"city": "Köln", "days": [1, 2], "units": {"t": "°C"}})";
  const std::string code = R"({"code": "a = \"}\"\n```json\n{\n```\n", "n": {"m": {}}})";
  return {
      {"", ""},
      {"Hello, 世界 <b> ``` {", "Hello, 世界 <b> ``` {"},
      {" \n", " \n"},
      {"\n\nHello\n", "\n\nHello\n"},
      {kBegins + v3("get_weather", weather) + kEnds, "[0 get_weather " + weather + "]"},
      {kBegins + v31("get_weather", weather) + kEnds, "[0 get_weather " + weather + "]"},
      {"Let me see.\n" + kBegins + v3("a", "{}") + "\n" + v3("b-2", weather) + kEnds,
       "Let me see.\n[0 a {}][1 b-2 " + weather + "]"},
      {"Let me see." + kBegins + v31("a", "{}") + v31("a", weather) + v31("c", code) + kEnds,
       "Let me see.[0 a {}][1 a " + weather + "][2 c " + code + "]"},
      {kBegins + v3("run", code) + kEnds, "[0 run " + code + "]"},
      {kBegins + v3("pretty", "{\n  \"a\": 1\n}") + kEnds, "[0 pretty {\n  \"a\": 1\n}]"},
  };
}

std::vector<Case> as_models_write_them() {
  return {
      // White space in all places, and around the list.
      {"\n\n" + kBegins + "\n" + kBegin + "\nfunction " + kSep + " f \n\n```json\n\n{}\n\n```\n" + kEnd +
           "\n\n" + v3("g", "{}") + "\n" + kEnds + "\n",
       "[0 f {}][1 g {}]"},
      {kBegins + "\n" + kBegin + " f\n" + kSep + "\n{\"a\": 1}\n" + kEnd + "\n" + kEnds, "[0 f {\"a\": 1}]"},
      // Tags that are missing.
      {kBegins + v3("f", "{}"), "[0 f {}]"},
      {kBegins + v3("f", "{}") + "\nDone.", "[0 f {}]\nDone."},
      {v31("f", "{}") + v31("g", "{}"), "[0 f {}][1 g {}]"},
      {kBegins + kBegin + "f" + kSep + "{\"a\": 1}" + kEnds, "[0 f {\"a\": 1}]"},
      {kBegins + kBegin + "f" + kSep + "{}" + v31("g", "{}") + kEnds, "[0 f {}][1 g {}]"},
      // Fences that are missing, or there in the other format, or of another language.
      {kBegins + kBegin + "function" + kSep + "f\n{\"a\": 1}\n" + kEnd + kEnds, "[0 f {\"a\": 1}]"},
      {kBegins + kBegin + "function" + kSep + "f\n```\n{}```" + kEnd + kEnds, "[0 f {}]"},
      {kBegins + kBegin + "f" + kSep + "```json\n{}\n```" + kEnd + kEnds, "[0 f {}]"},
      {kBegins + kBegin + "function" + kSep + "f```JSON{}\n```" + kEnd + kEnds, "[0 f {}]"},
      {kBegins + kBegin + "function" + kSep + "f\n```json\n{\"a\": 1}\n" + kEnd + kEnds, "[0 f {\"a\": 1}]"},
      // No arguments.
      {kBegins + kBegin + "function" + kSep + "f" + kEnd + kEnds, "[0 f {}]"},
      {kBegins + kBegin + "f" + kSep + kEnd + kEnds, "[0 f {}]"},
      {kBegins + v3("f", "") + kEnds, "[0 f {}]"},
      // A second list, and text between the two.
      {kBegins + v31("f", "{}") + kEnds + "And\n" + kBegins + v31("g", "{}") + kEnds,
       "[0 f {}]And\n[1 g {}]"},
      // Cut off.
      {kBegins + kBegin + "f" + kSep + "{\"a\": \"x", "[0 f {\"a\": \"x]"},
      {kBegins + kBegin + "f" + kSep + "{\"a\": 1}\n```", "[0 f {\"a\": 1}]"},
      {kBegins + kBegin + "f" + kSep + "{\"a\": 1}\n```\n<｜tool▁ca", "[0 f {\"a\": 1}]"},
      {kBegins + kBegin + "f" + kSep + "{\"a\": \"``", "[0 f {\"a\": \"``]"},
  };
}

// Nothing gets lost that makes no call.
std::vector<Case> malformed() {
  const std::vector<std::string> same = {
      "<",
      "<｜tool▁ca",
      "  <｜tool",
      kBegins,
      kBegins + kEnds,
      "\n" + kBegins + "Hello" + kEnds,
      kBegin + "f" + kEnd,
      kBegin + "function" + kSep,
      kBegin + "function" + kSep + "f\n```json",
      kBegin + kSep + "{}" + kEnd,
      kBegin + "two words" + kSep + "{}" + kEnd,
      kBegin + "function" + kSep + "f and more {}" + kEnd,
      kBegin + "function" + kSep + "f\n[1]" + kEnd,
      kBegin + "<b>" + kSep + "{}" + kEnd,
      kBegin + std::string(300, 'x') + kSep + "{}" + kEnd,
      kBegin + "function" + kSep + std::string(300, 'x') + "\n{}" + kEnd,
      kBegin + "f" + kSep + std::string(100, '\n') + "{}" + kEnd,
      kSep + kEnd + kEnds,
  };
  std::vector<Case> cases;
  for (const std::string& text : same) cases.push_back({text, text});
  cases.push_back(
      {kBegins + kBegin + "?" + kBegin + "f" + kSep + "{}" + kEnd + kEnds, kBegins + kBegin + "?[0 f {}]"});
  cases.push_back(
      {kBegins + v31("f", "{}") + "\n" + kBegin + "g" + kEnd, "[0 f {}]\n" + kBegin + "g" + kEnd});
  return cases;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases = well_formed();
  for (const Case& c : as_models_write_them()) cases.push_back(c);
  for (const Case& c : malformed()) cases.push_back(c);
  return cases;
}

TEST(ToolCallParser, ReadsBothFormats) {
  for (const Case& c : well_formed()) EXPECT_EQ(parse({c.text}), c.expected) << c.text;
}

TEST(ToolCallParser, ReadsWhatModelsMakeOfThem) {
  for (const Case& c : as_models_write_them()) EXPECT_EQ(parse({c.text}), c.expected) << c.text;
}

TEST(ToolCallParser, LeavesMalformedMarkupInTheText) {
  for (const Case& c : malformed()) EXPECT_EQ(parse({c.text}), c.expected) << c.text;
}

TEST(ToolCallParser, GivesTheSameHoweverTheTextIsCut) {
  std::mt19937 random(3);
  for (const Case& c : all_cases()) {
    for (size_t cut = 0; cut <= c.text.size(); ++cut) {
      EXPECT_EQ(parse({c.text.substr(0, cut), c.text.substr(cut)}), c.expected)
          << c.text << " cut at " << cut;
    }
    for (const size_t most : {1U, 2U, 7U, 40U}) {
      std::vector<std::string> parts;
      for (size_t at = 0; at < c.text.size(); at += parts.back().size()) {
        parts.push_back(c.text.substr(at, 1 + random() % most));
      }
      EXPECT_EQ(parse(parts), c.expected) << c.text;
    }
  }
}

TEST(ToolCallParser, StreamsArgumentsAndHoldsBackOnlyWhatMayBeTheirEnd) {
  ToolCallParser parser;
  EXPECT_TRUE(parser.push(kBegins + kBegin + "function" + kSep + "f\n```json").empty());
  EXPECT_EQ(parser.num_calls(), 0);
  std::vector<ToolPiece> pieces = parser.push("\n{\"a\": ");
  ASSERT_EQ(pieces.size(), 2U);
  EXPECT_EQ(pieces[0].kind, Kind::kCallBegin);
  EXPECT_EQ(pieces[0].text, "f");
  EXPECT_EQ(pieces[1].text, "{\"a\":");
  EXPECT_EQ(parser.num_calls(), 1);
  pieces = parser.push("\"x <");
  ASSERT_EQ(pieces.size(), 1U);
  EXPECT_EQ(pieces[0].text, " \"x");
  EXPECT_EQ(parser.push("b>`` \"}\n")[0].text, " <b>`` \"}");
  EXPECT_TRUE(parser.push("```").empty());
  EXPECT_TRUE(parser.push("<｜tool▁call").empty());
  pieces = parser.push("▁end｜>");
  ASSERT_EQ(pieces.size(), 1U);
  EXPECT_EQ(pieces[0].kind, Kind::kCallEnd);
  EXPECT_TRUE(parser.push(kEnds).empty());
  EXPECT_TRUE(parser.finish().empty());
}

TEST(ToolCallParser, StreamsTextAndHoldsBackOnlyWhatMayBeATag) {
  ToolCallParser parser;
  EXPECT_EQ(parser.push("a b ")[0].text, "a b ");
  EXPECT_EQ(parser.push("c <")[0].text, "c ");
  EXPECT_EQ(parser.push("=")[0].text, "<=");
}

// The two parsers one after the other, as an answer goes through them.
std::pair<std::string, std::string> split(const std::string& text, bool starts_thinking) {
  std::pair<std::string, std::string> result;
  for (const size_t size : {text.size() + 1, size_t{1}}) {
    ReasoningSplitter reasoning(starts_thinking);
    ToolCallParser tools;
    std::string thoughts;
    std::vector<ToolPiece> pieces;
    const auto take = [&](const std::vector<ReasoningSplitter::Piece>& parts) {
      for (const auto& part : parts) {
        if (part.thinking) thoughts += part.text;
        if (!part.thinking) append(pieces, tools.push(part.text));
      }
    };
    for (size_t at = 0; at < text.size(); at += size) take(reasoning.push(text.substr(at, size)));
    take(reasoning.finish());
    append(pieces, tools.finish());
    if (size > 1) result = {thoughts, sum(pieces)};
    EXPECT_EQ(thoughts, result.first);
    EXPECT_EQ(sum(pieces), result.second);
  }
  return result;
}

TEST(ToolCallParser, FollowsReasoning) {
  using Pair = std::pair<std::string, std::string>;
  const std::string call = kBegins + v3("f", "{}") + kEnds;
  EXPECT_EQ(split("I could call\n" + call + "</think>\n\n" + call, true),
            Pair("I could call\n" + call, "[0 f {}]"));
  EXPECT_EQ(split("<think>\n\n</think>\n\nYes." + call, false), Pair("\n\n", "\n\nYes.[0 f {}]"));
  EXPECT_EQ(split("Thoughts without an end " + call, true), Pair("Thoughts without an end " + call, ""));
  EXPECT_EQ(split(call, false), Pair("", "[0 f {}]"));
  EXPECT_EQ(split("a</think>" + kBegins + v31("f", R"({"a": "</th"})") + kEnds, true),
            Pair("a", R"([0 f {"a": "</th"}])"));
}

TEST(WriteToolCalls, WritesWhatTheParserReads) {
  const json calls = parse_json(R"([{"function":{"name":"f","arguments":"{\"a\": 1}"}},
                                    {"function":{"name":"g","arguments":"{}"}}])",
                                "calls", ErrorKind::kRequest);
  EXPECT_EQ(write_tool_calls(ToolFormat::kV3, calls),
            kBegins + v3("f", "{\"a\": 1}") + "\n" + v3("g", "{}") + kEnds);
  EXPECT_EQ(write_tool_calls(ToolFormat::kV31, calls),
            kBegins + v31("f", "{\"a\": 1}") + v31("g", "{}") + kEnds);
}

}  // namespace
}  // namespace hadal::text
