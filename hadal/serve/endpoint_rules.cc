#include "hadal/serve/endpoint_rules.h"

#include "hadal/serve/generation_fields.h"

namespace hadal::serve {
namespace {

using enum FieldType;

std::vector<FieldRule> with_generation(std::vector<FieldRule> rules) {
  const std::vector<FieldRule> shared = generation_rules();
  rules.insert(rules.end(), shared.begin(), shared.end());
  return rules;
}

}  // namespace

std::span<const FieldRule> completion_rules() {
  static const std::vector<FieldRule> rules = with_generation({
      {"prompt", kAny, 0, 0, "Text, a list of texts, token ids, or a list of those"},
      {"suffix", kString, 0, 1 << 23, "What comes after the answer (models with fill-in-the-middle tokens)"},
      {"echo", kBoolean, 0, 0, "The prompt is a part of the answer, its log-probabilities too"},
      {"logprobs", kInteger, 0, 20,
       "Log-probabilities of the tokens, and of the most probable ones in their places"},
      {"prompt_logprobs", kInteger, 0, 20, "The same of the prompt's tokens"},
      {"add_special_tokens", kBoolean, 0, 0,
       "A BOS before a prompt given as text, where the tokenizer adds one (default)"},
  });
  return rules;
}

std::span<const FieldRule> chat_rules() {
  static const std::vector<FieldRule> rules = with_generation({
      {"messages", kArray, 1, 4096, "role and content, oldest first"},
      {"logprobs", kBoolean, 0, 0, "Log-probabilities of the answer's tokens"},
      {"top_logprobs", kInteger, 0, 20, "And of the most probable ones in their places"},
      {"tools", kArray, 0, 128, "Functions that the model may call"},
      {"tool_choice", kAny, 0, 0, "none, auto, required, or a function's name in an object"},
      {"parallel_tool_calls", kBoolean, 0, 0, "False: one call at most"},
      {"thinking", kObject, 0, 0, "type enabled or disabled"},
      {"reasoning_effort", kString, 0, 32, "Accepted; none turns thinking off"},
      {"thinking_token_budget", kInteger, 0, 2147483647, "Tokens of thoughts, at most; then they are closed"},
      {"chat_template_kwargs", kObject, 0, 0, "Variables for the chat template (thinking)"},
      {"separate_reasoning", kBoolean, 0, 0, "Thoughts in reasoning_content (default)"},
      {"include_reasoning", kBoolean, 0, 0, "False: thoughts are left out"},
      {"add_generation_prompt", kBoolean, 0, 0, "The assistant's turn is opened (default)"},
      {"continue_final_message", kBoolean, 0, 0, "The last message is the beginning of the answer"},
  });
  return rules;
}

std::span<const FieldRule> tokenize_rules() {
  static const std::vector<FieldRule> rules{
      {"prompt", kAny, 0, 0, "Text, or a list of texts"},
      {"content", kAny, 0, 0, "llama.cpp's name of it; no BOS by default"},
      {"messages", kArray, 1, 4096, "A conversation, as /v1/chat/completions has it"},
      {"add_special_tokens", kBoolean, 0, 0, "A BOS first, where the tokenizer adds one (default)"},
      {"add_special", kBoolean, 0, 0, "llama.cpp's name of it"},
      {"with_pieces", kBoolean, 0, 0, "Each token with its text"},
      {"return_token_strs", kBoolean, 0, 0, "The tokens as they are stored, too"},
  };
  return rules;
}

std::span<const FieldRule> detokenize_rules() {
  static const std::vector<FieldRule> rules{
      {"tokens", kArray, 0, 1 << 20, "Token ids, or a list of such lists"},
      {"skip_special_tokens", kBoolean, 0, 0, "Special tokens are no text"},
  };
  return rules;
}

std::span<const FieldRule> sglang_rules() {
  static const std::vector<FieldRule> rules{
      {"text", kAny, 0, 0, "A prompt, or a list of prompts"},
      {"input_ids", kArray, 1, 1 << 20, "The same as token ids"},
      {"sampling_params", kObject, 0, 0, "Fields of /v1/completions, and max_new_tokens, min_new_tokens"},
      {"stream", kBoolean, 0, 0, "Server-sent events; the text of each is all of it so far"},
      {"return_logprob", kBoolean, 0, 0, "Log-probabilities in meta_info"},
      {"logprob_start_len", kInteger, -1, 2147483647,
       "From which token of the prompt on; -1: the answer's only"},
      {"top_logprobs_num", kInteger, 0, 20, "And of the most probable tokens in their places"},
      {"return_text_in_logprobs", kBoolean, 0, 0, "With the tokens' texts"},
      {"rid", kAny, 0, 0, "The request's id"},
  };
  return rules;
}

std::span<const FieldRule> key_rules() {
  constexpr double kMost = 1e15;
  static const std::vector<FieldRule> rules{
      {"name", kString, 0, 256, "Whose key it is"},
      {"role", kString, 0, 16, "user or admin"},
      {"models", kArray, 0, 256, "Models that it may use; null or none: all"},
      {"requests_per_minute", kInteger, 1, kMost, "null: no limit"},
      {"tokens_per_minute", kInteger, 1, kMost, "null: no limit"},
      {"concurrent_requests", kInteger, 1, kMost, "null: no limit"},
      {"monthly_tokens", kInteger, 1, kMost, "null: no limit"},
      {"expires", kInteger, 0, 1e11, "Seconds since 1970; null: never"},
      {"balance", kString, 1, 32, "An amount such as 12.50; null: no limit"},
  };
  return rules;
}

std::span<const FieldRule> key_change_rules() {
  return key_rules().first(key_rules().size() - 1);  // a balance is topped up
}

// OpenAI's and DeepSeek's fields that other protocols have too.
constexpr FieldRule kModel{"model", kString, 0, 4096, "Any name, unless the server has --strict-model-name"};
constexpr FieldRule kTemperature{"temperature", kNumber, 0, 100, "0: always the most probable token"};
constexpr FieldRule kTopP{"top_p", kNumber, 0, 1, "Draw from the fewest tokens that hold this probability"};
constexpr FieldRule kTopK{"top_k", kInteger, -1, 2147483647, "Draw from the k most probable tokens"};
constexpr FieldRule kSeed{"seed", kInteger, -9.3e18, 1.9e19, "Same seed, same answer"};
constexpr FieldRule kStream{"stream", kBoolean, 0, 0, "Server-sent events"};
constexpr FieldRule kCacheSalt{"cache_salt", kString, 0, 512,
                               "Prompts are shared in the cache among requests with the same salt only"};

std::span<const FieldRule> message_rules() {
  static const std::vector<FieldRule> rules{
      kModel,
      kTemperature,
      kTopP,
      kTopK,
      kSeed,
      kStream,
      kCacheSalt,
      {"messages", kArray, 1, 4096, "Turns of user and assistant, oldest first"},
      {"system", kAny, 0, 0, "Text, or a list of text blocks"},
      {"max_tokens", kInteger, 1, 2147483647, "Tokens of the answer, at most; must be there"},
      {"stop_sequences", kArray, 0, 64, "Texts that end the answer"},
      {"tools", kArray, 0, 128, "Functions that the model may call: name, description, input_schema"},
      {"tool_choice", kObject, 0, 0, "type auto, any, tool or none; disable_parallel_tool_use"},
      {"thinking", kObject, 0, 0, "type enabled, disabled or adaptive; budget_tokens"},
      {"output_config", kObject, 0, 0, "format: a JSON schema of the answer"},
      {"metadata", kObject, 0, 0, "user_id: as cache_salt"},
      {"mcp_servers", kArray, 0, 64, "None"},
  };
  return rules;
}

std::span<const FieldRule> responses_rules() {
  static const std::vector<FieldRule> rules{
      kModel,
      kTemperature,
      kTopP,
      kTopK,
      kSeed,
      kStream,
      kCacheSalt,
      {"input", kAny, 0, 0, "Text, or a list of up to 4096 items"},
      {"instructions", kString, 0, 1 << 23, "The system's message"},
      {"previous_response_id", kString, 0, 128, "A stored response that this one goes on from"},
      {"store", kBoolean, 0, 0, "Keep the response for that (default), in memory, while there is room"},
      {"max_output_tokens", kInteger, 1, 2147483647, "Tokens of the answer, at most"},
      {"tools", kArray, 0, 128, "Functions that the model may call: name, description, parameters, strict"},
      {"tool_choice", kAny, 0, 0, "none, auto, required, or a function's name in an object"},
      {"parallel_tool_calls", kBoolean, 0, 0, "False: one call at most"},
      {"text", kObject, 0, 0, "format: type text, json_object or json_schema"},
      {"reasoning", kObject, 0, 0, "effort; none turns thinking off"},
      {"metadata", kObject, 0, 0, "Comes back with the response"},
      {"truncation", kString, 0, 32, "disabled"},
      {"top_logprobs", kInteger, 0, 0, "0"},
      {"background", kBoolean, 0, 0, "False"},
      {"conversation", kAny, 0, 0, "None"},
      {"prompt", kAny, 0, 0, "None"},
      {"chat_template_kwargs", kObject, 0, 0, "Variables for the chat template (thinking)"},
  };
  return rules;
}

}  // namespace hadal::serve
