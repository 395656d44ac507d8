#include "cli/text_generator.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <set>

#include "hadal/core/error.h"
#include "hadal/text/detokenizer.h"
#include "hadal/text/grammar.h"
#include "hadal/text/stop_strings.h"

namespace hadal::cli {
namespace {

using engine::Event;

// "id=bias", as --logit-bias takes it.
std::map<int32_t, float> parse_logit_bias(const std::vector<std::string>& pairs) {
  std::map<int32_t, float> biases;
  for (const std::string& pair : pairs) {
    try {
      size_t used = 0;
      const int32_t id = std::stoi(pair, &used);
      if (pair.at(used) != '=') throw std::invalid_argument(pair);
      size_t rest = 0;
      const std::string bias = pair.substr(used + 1);
      biases[id] = std::stof(bias, &rest);
      if (rest != bias.size()) throw std::invalid_argument(pair);
    } catch (const std::logic_error&) {  // what stoi, stof and at throw
      fail(ErrorKind::kUsage, "--logit-bias\n  expected  ID=BIAS, such as 42=-5\n  found     {}", pair);
    }
  }
  return biases;
}

engine::Sampling complete(const GenerateOptions& options, const model::GenerationConfig& defaults) {
  engine::Sampling sampling = options.sampling;
  sampling.temperature = options.temperature.value_or(static_cast<float>(defaults.temperature));
  sampling.top_p = options.top_p.value_or(static_cast<float>(defaults.top_p));
  sampling.top_k = options.top_k.value_or(static_cast<int32_t>(defaults.top_k));
  sampling.repetition_penalty =
      options.repetition_penalty.value_or(static_cast<float>(defaults.repetition_penalty));
  sampling.logit_bias = parse_logit_bias(options.logit_bias);
  return sampling;
}

std::unique_ptr<text::Grammar> make_grammar(const GenerateOptions& options,
                                            const text::Tokenizer& tokenizer) {
  using Kind = text::Grammar::Kind;
  if (!options.json_schema.empty()) {
    return std::make_unique<text::Grammar>(tokenizer, Kind::kJsonSchema, options.json_schema);
  }
  if (!options.regex.empty()) return std::make_unique<text::Grammar>(tokenizer, Kind::kRegex, options.regex);
  if (!options.grammar.empty())
    return std::make_unique<text::Grammar>(tokenizer, Kind::kLark, options.grammar);
  return nullptr;
}

// Everything about the options that can be checked before the weights are read, and what they leave to the checkpoint.
GenerateOptions complete(GenerateOptions options, const std::string& folder,
                         const model::ModelConfig& config) {
  const model::GenerationConfig defaults = model::load_generation_config(folder, config);
  options.sampling = complete(options, defaults);
  try {
    engine::check_sampling(options.sampling, config.vocab_size);
  } catch (const Error& e) {  // what generation_config.json says has been checked
    fail(ErrorKind::kUsage, "{}", e.what());
  }
  for (const int32_t id : options.stop_token_ids) {
    if (id >= 0 && id < config.vocab_size) continue;
    fail(ErrorKind::kUsage, "--stop-token-id\n  expected  a token id from 0 to {}\n  found     {}",
         config.vocab_size - 1, id);
  }
  if (options.max_model_len > config.max_position_embeddings) {
    fail(ErrorKind::kUsage,
         "--max-model-len\n  expected  at most max_position_embeddings = {}\n  found     {}",
         config.max_position_embeddings, options.max_model_len);
  }
  if (!options.ignore_eos) {
    for (const int64_t id : defaults.eos_token_ids)
      options.stop_token_ids.push_back(static_cast<int32_t>(id));
  }
  return options;
}

void add_sampling_options(CLI::App& cmd, GenerateOptions& o) {
  cmd.add_option("--temperature,--temp", o.temperature,
                 "0: always the most probable token (default: the checkpoint's generation_config.json)")
      ->check(number_from(0, 100));
  cmd.add_option("--top-k", o.top_k, "Draw from the k most probable tokens; 0: off")
      ->check(number_from(0, kMostTokens));
  cmd.add_option("--top-p", o.top_p, "Draw from the fewest tokens that hold this probability")
      ->check(number_above(0, 1));
  cmd.add_option("--min-p", o.sampling.min_p,
                 "Draw from tokens at least so probable, relative to the most probable")
      ->check(number_from(0, 1));
  cmd.add_option("--repetition-penalty", o.repetition_penalty,
                 "Above 1: tokens of prompt and answer less likely again")
      ->check(number_above(0, 100));
  cmd.add_option("--presence-penalty", o.sampling.presence_penalty, "Taken off tokens that the answer has")
      ->check(number_from(-100, 100));
  cmd.add_option("--frequency-penalty", o.sampling.frequency_penalty,
                 "Taken off for each time the answer has them")
      ->check(number_from(-100, 100));
  repeatable(cmd.add_option("--logit-bias", o.logit_bias, "ID=BIAS, added to a token's logit; repeatable"));
  cmd.add_option("-s,--seed", o.sampling.seed, "Same seed, same text")
      ->capture_default_str()
      ->check([](const std::string& text) {
        return text.starts_with('-') ? "expected 0 to 2^64 - 1, found " + text : "";
      });
}

}  // namespace

// What a running answer needs between two of its tokens.
struct TextGenerator::Answer {
  Answer(const text::Tokenizer& tokenizer, const GenerateOptions& options, size_t which)
      : index(which),
        detokenizer(tokenizer, /*skip_special=*/true),
        stops(options.stop),
        grammar(make_grammar(options, tokenizer)) {}

  size_t index;
  text::Detokenizer detokenizer;
  text::StopStrings stops;
  std::unique_ptr<text::Grammar> grammar;
  std::vector<uint32_t> mask;
  size_t num_accepted = 0;  // tokens that the grammar has seen
};

TextGenerator::TextGenerator(const RunOptions& run, GenerateOptions options)
    : run_(run),
      folder_(model_folder(run.model)),
      config_(model::load_config(folder_)),
      options_(complete(std::move(options), folder_, config_)),
      tokenizer_(text::Tokenizer::load(folder_)) {
  std::set<int32_t> stops(options_.stop_token_ids.begin(), options_.stop_token_ids.end());
  if (!options_.ignore_eos && tokenizer_.eos_token_id()) stops.insert(*tokenizer_.eos_token_id());
  stop_token_ids_.assign(stops.begin(), stops.end());
}

int64_t TextGenerator::max_model_len() const {
  return options_.max_model_len > 0 ? options_.max_model_len : config_.max_position_embeddings;
}

// As much cache as the largest max_num_seqs requests can come to need.
engine::EngineLimits TextGenerator::limits_for(std::span<const std::vector<int32_t>> prompts) const {
  std::vector<int64_t> needs;
  for (const auto& prompt : prompts) {
    const int64_t tokens = static_cast<int64_t>(prompt.size()) + options_.max_new_tokens;
    constexpr int64_t kPage = engine::Engine::kPageSize;
    needs.push_back((std::min(tokens, max_model_len()) + kPage - 1) / kPage * kPage);
  }
  std::ranges::sort(needs, std::greater<>());
  needs.resize(std::min(needs.size(), static_cast<size_t>(options_.max_num_seqs)));
  return {.max_num_seqs = options_.max_num_seqs,
          .max_model_len = options_.max_model_len,
          .kv_cache_tokens = std::accumulate(needs.begin(), needs.end(), int64_t{0})};
}

void TextGenerator::load(std::span<const std::vector<int32_t>> prompts) {
  if (loaded_) return;
  loaded_ = cli::load(run_, [&](const model::ModelConfig& config, const ops::Precision& precision) {
    return engine::memory_needs(config, limits_for(prompts), precision);
  });
}

engine::Request TextGenerator::request_for(const std::vector<int32_t>& prompt, Answer& answer) const {
  engine::Request request;
  request.prompt = prompt;
  request.sampling = options_.sampling;
  request.max_tokens = options_.max_new_tokens;
  request.min_tokens = options_.min_new_tokens;
  request.stop_token_ids = stop_token_ids_;
  if (!answer.grammar) return request;
  answer.mask.assign(static_cast<size_t>(config_.vocab_size + 31) / 32, 0);
  request.token_mask = [&answer](std::span<const int32_t> tokens) -> std::span<const uint32_t> {
    for (; answer.num_accepted < tokens.size(); ++answer.num_accepted) {
      answer.grammar->accept(tokens[answer.num_accepted]);
    }
    answer.grammar->mask(answer.mask);
    return answer.mask;
  };
  return request;
}

std::vector<Completion> TextGenerator::run(std::span<const std::vector<int32_t>> prompts,
                                           const std::function<void(size_t, std::string_view)>& on_text,
                                           const std::function<bool()>& cancel) {
  load(prompts);
  engine::Engine engine(loaded_->model, *loaded_->pool, loaded_->precision, limits_for(prompts));
  std::vector<Completion> completions(prompts.size());
  std::map<engine::RequestId, std::unique_ptr<Answer>> answers;
  for (size_t i = 0; i < prompts.size(); ++i) {
    auto answer = std::make_unique<Answer>(tokenizer_, options_, i);
    completions[i].num_prompt_tokens = prompts[i].size();
    const engine::RequestId id = engine.submit(request_for(prompts[i], *answer));
    answers[id] = std::move(answer);
  }
  const auto show = [&](Answer& answer, std::string_view text) {
    if (text.empty()) return;
    completions[answer.index].text += text;
    on_text(answer.index, text);
  };
  const auto on_token = [&](const engine::TokenEvent& event) {
    Answer& answer = *answers.at(event.id);
    completions[answer.index].tokens.push_back(event.sampled);
    if (std::ranges::find(stop_token_ids_, event.sampled.token) != stop_token_ids_.end()) return;
    show(answer, answer.stops.push(answer.detokenizer.push(event.sampled.token)));
    if (answer.stops.stopped() || cancel()) engine.cancel(event.id);
  };
  const auto on_finished = [&](const engine::FinishedEvent& event) {
    Answer& answer = *answers.at(event.id);
    show(answer, answer.stops.push(answer.detokenizer.finish()));
    show(answer, answer.stops.finish());
    completions[answer.index].reason = answer.stops.stopped() ? engine::FinishReason::kStop : event.reason;
  };
  while (engine.step([&](const Event& event) {
    if (const auto* token = std::get_if<engine::TokenEvent>(&event)) {
      on_token(*token);
    } else if (const auto* finished = std::get_if<engine::FinishedEvent>(&event)) {
      on_finished(*finished);
    } else if (const auto* failed = std::get_if<engine::FailedEvent>(&event)) {
      throw Error(failed->kind, failed->message);
    }
  })) {
    if (!cancel()) continue;
    for (const auto& [id, answer] : answers) engine.cancel(id);
  }
  return completions;
}

std::string_view to_string(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kStop:
      return "stop";
    case engine::FinishReason::kLength:
      return "length";
    case engine::FinishReason::kCancelled:
      return "cancelled";
  }
  return "stop";
}

void add_generate_options(CLI::App& cmd, GenerateOptions& o) {
  cmd.add_option("-n,--max-new-tokens,--max-tokens", o.max_new_tokens, "Tokens to generate at most")
      ->capture_default_str()
      ->check(number_from(1, kMostTokens));
  cmd.add_option("--min-new-tokens,--min-tokens", o.min_new_tokens, "No end before so many tokens")
      ->check(number_from(0, kMostTokens));
  add_sampling_options(cmd, o);
  repeatable(cmd.add_option("--stop", o.stop, "Text that ends the answer, not shown; repeatable"))
      ->check([](const std::string& text) { return text.empty() ? "expected text, found none" : ""; });
  repeatable(
      cmd.add_option("--stop-token-id", o.stop_token_ids, "Token id that ends the answer; repeatable"));
  cmd.add_flag("--ignore-eos", o.ignore_eos, "Go on after the end-of-sequence token");
  cmd.add_option("-c,--max-model-len,--ctx-size", o.max_model_len,
                 "Tokens of prompt and answer together at most")
      ->check(number_from(1, kMostTokens));
  auto* schema = cmd.add_option("-j,--json-schema", o.json_schema, "JSON schema that the answer has to meet");
  auto* regex = cmd.add_option("--regex", o.regex, "Regular expression that the answer has to match");
  cmd.add_option("--grammar", o.grammar, "Lark grammar that the answer has to follow")
      ->excludes(schema, regex);
  regex->excludes(schema);
}

}  // namespace hadal::cli
