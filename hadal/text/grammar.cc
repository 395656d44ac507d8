#include "hadal/text/grammar.h"

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/text/bridge_call.h"

namespace hadal::text {
namespace {

struct FreeGrammar {
  void operator()(hadal_grammar* grammar) const { hadal_grammar_free(grammar); }
};

// llguidance 1.9.1 negates the bounds of an integer, and overflows the stack over those that have no counterpart: a
// schema with "const": -9223372036854775808 ends the program. Beyond it they count as that number.
constexpr double kTooSmall = -0x1p63;

[[noreturn]] void refuse_too_small(const std::string& where) {
  fail(ErrorKind::kRequest, "{}\n  expected  numbers above -2^63\n  found     one that is not", where);
}

void check_numbers(const json& schema, const std::string& where) {
  std::vector<const json*> rest = {&schema};
  while (!rest.empty()) {
    const json& value = *rest.back();
    rest.pop_back();
    if (value.is_number() && value.get<double>() <= kTooSmall) refuse_too_small(where);
    if (value.is_structured()) {
      for (const json& member : value) rest.push_back(&member);
    }
  }
}

// The same for the schemas within a Lark grammar, in whose text strings cannot be told from the rest for certain.
void check_numbers(const std::string& lark, const std::string& where) {
  if (lark.find("%json") == std::string::npos) return;
  for (size_t at = lark.find('-'); at != std::string::npos; at = lark.find('-', at + 1)) {
    const bool is_number = at + 1 < lark.size() && lark[at + 1] >= '0' && lark[at + 1] <= '9';
    if (is_number && std::strtod(lark.c_str() + at, nullptr) <= kTooSmall) refuse_too_small(where);
  }
}

std::string_view name_of(Grammar::Kind kind) {
  switch (kind) {
    case Grammar::Kind::kJsonSchema:
      return "JSON schema";
    case Grammar::Kind::kRegex:
      return "regular expression";
    case Grammar::Kind::kLark:
      return "Lark grammar";
  }
  return "grammar";
}

}  // namespace

struct Grammar::State {
  std::unique_ptr<hadal_grammar, FreeGrammar> bridge;
  std::string where;
  size_t mask_words;
};

Grammar::Grammar(const Tokenizer& tokenizer, Kind kind, std::string_view source) {
  const std::string where(name_of(kind));
  // Depth and duplicate keys are checked by parsing.
  if (kind == Kind::kJsonSchema) check_numbers(parse_json(source, where, ErrorKind::kRequest), where);
  if (kind == Kind::kLark) check_numbers(std::string(source), where);
  hadal_grammar* bridge = nullptr;
  bridge_call(ErrorKind::kRequest, where, [&](hadal_buffer* error) {
    return hadal_grammar_new(static_cast<const hadal_tokenizer*>(tokenizer.handle()),
                             tokenizer.eos_token_id().value_or(-1), static_cast<int32_t>(kind),
                             bytes_of(source), source.size(), &bridge, error);
  });
  const auto vocab_size = static_cast<size_t>(tokenizer.vocab_size());
  state_ = std::make_unique<State>();
  state_->bridge.reset(bridge);
  state_->where = where;
  state_->mask_words = (vocab_size + 31) / 32;
}

Grammar::Grammar(std::unique_ptr<State> state) : state_(std::move(state)) {}

Grammar Grammar::copy() const {
  hadal_grammar* bridge = nullptr;
  bridge_call(ErrorKind::kRequest, state_->where,
              [&](hadal_buffer* error) { return hadal_grammar_clone(state_->bridge.get(), &bridge, error); });
  auto state = std::make_unique<State>();
  state->bridge.reset(bridge);
  state->where = state_->where;
  state->mask_words = state_->mask_words;
  return Grammar(std::move(state));
}

Grammar::Grammar(Grammar&&) noexcept = default;
Grammar& Grammar::operator=(Grammar&&) noexcept = default;
Grammar::~Grammar() = default;

void Grammar::mask(std::span<uint32_t> mask) {
  HADAL_CHECK(mask.size() >= state_->mask_words, "a mask of {} words for a vocabulary that needs {}",
              mask.size(), state_->mask_words);
  bridge_call(ErrorKind::kRequest, state_->where, [&](hadal_buffer* error) {
    return hadal_grammar_mask(state_->bridge.get(), mask.data(), mask.size(), error);
  });
}

void Grammar::accept(int32_t token) {
  bridge_call(ErrorKind::kRequest, state_->where,
              [&](hadal_buffer* error) { return hadal_grammar_accept(state_->bridge.get(), token, error); });
}

bool Grammar::is_finished() const {
  return hadal_grammar_is_finished(state_->bridge.get());
}

}  // namespace hadal::text
