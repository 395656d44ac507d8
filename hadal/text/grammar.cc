#include "hadal/text/grammar.h"

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/text/bridge_call.h"

namespace hadal::text {
namespace {

struct Free {
  void operator()(hadal_grammar* grammar) const { hadal_grammar_free(grammar); }
};

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
  std::unique_ptr<hadal_grammar, Free> bridge;
  std::string where;
  size_t mask_words;
};

Grammar::Grammar(const Tokenizer& tokenizer, Kind kind, std::string_view source) {
  const std::string where(name_of(kind));
  if (kind == Kind::kJsonSchema) parse_json(source, where, ErrorKind::kRequest);  // depth, duplicate keys
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
