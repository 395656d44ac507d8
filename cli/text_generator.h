#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/common.h"
#include <CLI/CLI.hpp>

#include "hadal/engine/engine.h"
#include "hadal/model/generation_config.h"
#include "hadal/text/tokenizer.h"

namespace hadal::cli {

/// What the sampling flags said; what they did not say comes from the checkpoint's generation_config.json.
struct GenerateOptions {
  std::optional<float> temperature, top_p, repetition_penalty;
  std::optional<int32_t> top_k;
  engine::Sampling sampling;            // the others, with their defaults
  std::vector<std::string> logit_bias;  // "id=bias"
  int64_t max_new_tokens = 200;         // the V3 demo's default
  int64_t min_new_tokens = 0;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  int64_t max_num_seqs = 16, max_model_len = 0;
  std::string json_schema, regex, grammar;  // at most one
};
void add_generate_options(CLI::App& cmd, GenerateOptions& options);

/// One prompt's answer.
struct Completion {
  std::string text;
  std::vector<engine::Sampled> tokens;  // the stop token included
  engine::FinishReason reason = engine::FinishReason::kStop;
  size_t num_prompt_tokens = 0;
};

/// Text in, text out: a model with its tokenizer. What can be refused is refused before the weights are read.
class TextGenerator {
 public:
  TextGenerator(const RunOptions& run, GenerateOptions options);

  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  const std::string& folder() const { return folder_; }
  /// Tokens that a conversation may have at most.
  int64_t max_model_len() const;

  /// Reads the weights, if that has not been done, after it has compared the memory with what they and answers to these prompts
  /// need.
  void load(std::span<const std::vector<int32_t>> prompts);

  /// Answers all prompts, loading first if need be, at most max_num_seqs at a time. on_text(i, text) gets the text of prompt i as it comes; it never
  /// cuts a character, and nothing of a stop string. When cancel() is true, what is running ends as it is.
  std::vector<Completion> run(
      std::span<const std::vector<int32_t>> prompts,
      const std::function<void(size_t, std::string_view)>& on_text,
      const std::function<bool()>& cancel = [] { return false; });

 private:
  struct Answer;
  engine::Request request_for(const std::vector<int32_t>& prompt, Answer& answer) const;
  engine::EngineLimits limits_for(std::span<const std::vector<int32_t>> prompts) const;

  RunOptions run_;
  std::string folder_;
  model::ModelConfig config_;
  GenerateOptions options_;
  text::Tokenizer tokenizer_;
  std::optional<LoadedModel> loaded_;
  std::vector<int32_t> stop_token_ids_;
};

std::string_view to_string(engine::FinishReason reason);

}  // namespace hadal::cli
