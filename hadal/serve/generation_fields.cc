#include "hadal/serve/generation_fields.h"

#include <algorithm>
#include <charconv>
#include <random>

#include <fmt/format.h>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

constexpr double kMostTokens = 2147483647;
constexpr size_t kMaxStops = 64, kMaxStopBytes = 4096, kMaxBiases = 4096, kMaxGrammarBytes = 256 << 10;

std::string as_text(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void read_stops(const FieldReader& fields, GenerationOptions& options) {
  if (const json* stop = fields.find("stop")) {
    if (stop->is_string()) {
      options.stop = {stop->get<std::string>()};
    } else if (stop->is_array()) {
      options.stop = fields.strings("stop");
    } else {
      fields.refuse(400, "stop",
                    fmt::format("expected a string or a list of strings, found {}", stop->type_name()));
    }
  }
  if (options.stop.size() > kMaxStops)
    fields.refuse(422, "stop", fmt::format("expected at most {} strings", kMaxStops));
  for (const std::string& text : options.stop) {
    if (text.size() > kMaxStopBytes)
      fields.refuse(422, "stop", fmt::format("expected at most {} bytes each", kMaxStopBytes));
  }
}

void read_biases(const FieldReader& fields, const Service& service, engine::Sampling& sampling) {
  const json* biases = fields.find("logit_bias");
  if (!biases) return;
  if (biases->size() > kMaxBiases)
    fields.refuse(422, "logit_bias", fmt::format("expected at most {} tokens", kMaxBiases));
  for (const auto& [key, value] : biases->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= service.config.vocab_size)
      fields.refuse(
          422, "logit_bias",
          fmt::format("expected token ids from 0 to {}, found \"{}\"", service.config.vocab_size - 1, key));
    if (!value.is_number() || !(std::abs(value.get<double>()) <= 100.0))
      fields.refuse(422, "logit_bias",
                    fmt::format("expected numbers from -100 to 100, found {}", value.dump()));
    sampling.logit_bias[id] = value.get<float>();
  }
}

std::string choice_grammar(const FieldReader& fields, std::string_view name, const json& choices) {
  std::string source = "start: ";
  if (!choices.is_array() || choices.empty())
    fields.refuse(400, name, "expected a list of strings, one at least");
  for (size_t i = 0; i < choices.size(); ++i) {
    if (!choices[i].is_string())
      fields.refuse(400, name, fmt::format("expected strings, found {}", choices[i].type_name()));
    source += (i > 0 ? " | " : "") + choices[i].dump();
  }
  return source;
}

using Kind = text::Grammar::Kind;

std::optional<Constraint> constraint_in(const FieldReader& fields, const json& format) {
  const auto given = format.find("type");
  if (given == format.end() || !given->is_string())
    fields.refuse(400, "response_format", "expected a type: text, json_object or json_schema");
  const auto& type = given->get_ref<const std::string&>();
  if (type == "text") return std::nullopt;
  if (type == "json_object") return Constraint{Kind::kJsonSchema, R"({"type":"object"})"};
  if (type != "json_schema")
    fields.refuse(400, "response_format",
                  fmt::format("expected type text, json_object or json_schema, found \"{}\"", type));
  const auto outer = format.find("json_schema");
  const json* schema = outer == format.end() ? nullptr : &*outer;
  if (schema && schema->is_object() && schema->contains("schema")) schema = &(*schema)["schema"];
  if (!schema || !(schema->is_object() || schema->is_boolean()))
    fields.refuse(400, "response_format", "expected json_schema.schema to be an object");
  return Constraint{Kind::kJsonSchema, schema->dump()};
}

// A small model likes to fill its answer with blanks, which every schema allows between its parts. Who says something about
// blanks is left alone.
void bound_blanks(std::string& schema) {
  json parsed;
  try {
    parsed = parse_json(schema, "JSON schema", ErrorKind::kRequest);
  } catch (const Error& e) {
    throw ApiError(400, e.what());
  }
  if (!parsed.is_object() || parsed.contains("x-guidance")) return;
  json bounded = parsed;
  bounded["x-guidance"] = {{"whitespace_pattern", R"([ \n\t]{1,20})"}};
  schema = bounded.dump();
}

// vLLM's structured_outputs and the fields that were there before it, SGLang's json_schema, regex and ebnf.
std::optional<Constraint> read_constraint(const FieldReader& fields) {
  std::vector<Constraint> found;
  const auto add = [&](std::string_view name, const json* value) {
    if (!value || value->is_null()) return;
    if (name == "regex" || name == "guided_regex") found.push_back({Kind::kRegex, as_text(*value)});
    if (name == "grammar" || name == "guided_grammar" || name == "ebnf")
      found.push_back({Kind::kLark, as_text(*value)});
    if (name == "json" || name == "guided_json" || name == "json_schema")
      found.push_back({Kind::kJsonSchema, as_text(*value)});
    if (name == "choice" || name == "guided_choice")
      found.push_back({Kind::kLark, choice_grammar(fields, name, *value)});
    if (name == "json_object" && value->is_boolean() && value->get<bool>())
      found.push_back({Kind::kJsonSchema, R"({"type":"object"})"});
  };
  for (const char* name :
       {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "json_schema", "regex", "ebnf"})
    add(name, fields.find(name));
  if (const json* structured = fields.find("structured_outputs")) {
    for (const auto& [name, value] : structured->items()) add(name, &value);
  }
  if (const json* format = fields.find("response_format")) {
    if (const auto constraint = constraint_in(fields, *format)) found.push_back(*constraint);
  }
  if (found.empty()) return std::nullopt;
  if (found.size() > 1)
    throw ApiError(400,
                   "The request constrains its answer in more than one way: expected one of response_format, "
                   "structured_outputs, ...");
  if (found[0].kind == Kind::kJsonSchema) bound_blanks(found[0].source);
  if (found[0].source.size() > kMaxGrammarBytes)
    throw ApiError(
        422, fmt::format("A schema, expression or grammar may have at most {} bytes.", kMaxGrammarBytes));
  return found[0];
}

void read_sampling(const FieldReader& fields, const Service& service, engine::Sampling& sampling) {
  const auto number = [&](const char* name, double otherwise) {
    return static_cast<float>(fields.number(name).value_or(otherwise));
  };
  sampling.temperature = number("temperature", service.defaults.temperature);
  sampling.top_p = number("top_p", service.defaults.top_p);
  if (sampling.top_p <= 0.0F) fields.refuse(422, "top_p", "expected more than 0");
  sampling.top_k =
      static_cast<int32_t>(std::max<int64_t>(fields.integer("top_k").value_or(service.defaults.top_k), 0));
  sampling.min_p = number("min_p", 0.0);
  sampling.presence_penalty = number("presence_penalty", 0.0);
  sampling.frequency_penalty = number("frequency_penalty", 0.0);
  const double before = fields.number("repeat_penalty").value_or(service.defaults.repetition_penalty);
  sampling.repetition_penalty = number("repetition_penalty", before);
  if (sampling.repetition_penalty <= 0.0F) fields.refuse(422, "repetition_penalty", "expected more than 0");
  read_biases(fields, service, sampling);
  // -1 is vLLM's way to say none; the sampler takes any 64 bits.
  static thread_local std::mt19937_64 random{std::random_device{}()};
  const auto seed = fields.has("seed") ? fields.integer("seed") : service.options.seed;
  sampling.seed = seed ? static_cast<uint64_t>(*seed) : random();
}

}  // namespace

std::vector<FieldRule> generation_rules() {
  using enum FieldType;
  return {
      {"model", kString, 0, 4096, "Any name, unless the server was started with --strict-model-name"},
      {"max_tokens", kInteger, 0, kMostTokens, "Tokens of the answer, at most"},
      {"max_completion_tokens", kInteger, 0, kMostTokens, "The same, OpenAI's newer name"},
      {"min_tokens", kInteger, 0, kMostTokens, "No end of the answer before so many tokens"},
      {"temperature", kNumber, 0, 100, "0: always the most probable token"},
      {"top_p", kNumber, 0, 1, "Draw from the fewest tokens that hold this probability"},
      {"top_k", kInteger, -1, kMostTokens, "Draw from the k most probable tokens; 0 or -1: from all"},
      {"min_p", kNumber, 0, 1, "Draw from tokens at least so probable, relative to the most probable"},
      {"presence_penalty", kNumber, -2, 2, "Taken off tokens that the answer has"},
      {"frequency_penalty", kNumber, -2, 2, "Taken off for each time the answer has them"},
      {"repetition_penalty", kNumber, 0, 100, "Above 1: tokens of prompt and answer less likely again"},
      {"repeat_penalty", kNumber, 0, 100, "llama.cpp's name of repetition_penalty"},
      {"seed", kInteger, -9.3e18, 1.9e19, "Same seed, same answer"},
      {"n", kInteger, 1, 128, "Answers to each prompt"},
      {"best_of", kInteger, 1, 128, "Only as large as n"},
      {"stop", kAny, 0, 0, "Text, or up to 64 of them, that ends the answer"},
      {"stop_token_ids", kArray, 0, 64, "Token ids that end the answer"},
      {"ignore_eos", kBoolean, 0, 0, "Go on after the end of sequence"},
      {"include_stop_str_in_output", kBoolean, 0, 0, "The text that ended the answer is a part of it"},
      {"skip_special_tokens", kBoolean, 0, 0, "Special tokens are no text"},
      {"logit_bias", kObject, 0, 0, "Token id to number, added to the token's logit"},
      {"stream", kBoolean, 0, 0, "Server-sent events"},
      {"stream_options", kObject, 0, 0, "include_usage, continuous_usage_stats"},
      {"response_format", kObject, 0, 0, "type text, json_object or json_schema"},
      {"structured_outputs", kObject, 0, 0, "One of json, regex, choice, grammar, json_object"},
      {"guided_json", kAny, 0, 0, "A JSON schema"},
      {"guided_regex", kString, 0, 1 << 18, "A regular expression"},
      {"guided_choice", kArray, 1, 4096, "Strings, one of which is the answer"},
      {"guided_grammar", kString, 0, 1 << 18, "A Lark grammar"},
      {"json_schema", kAny, 0, 0, "SGLang's name of guided_json"},
      {"regex", kString, 0, 1 << 18, "SGLang's name of guided_regex"},
      {"ebnf", kString, 0, 1 << 18, "SGLang's name of guided_grammar"},
      {"priority", kInteger, -1000, 1000, "The smaller goes first"},
      {"cache_salt", kString, 0, 512,
       "Prompts are shared in the cache among requests with the same salt only"},
      {"user_id", kString, 0, 512, "The same, DeepSeek's name"},
      {"return_tokens_as_token_ids", kBoolean, 0, 0, "Tokens in logprobs as token_id:ID"},
      {"return_token_ids", kBoolean, 0, 0, "Ids of the prompt's and the answer's tokens beside the text"},
  };
}

GenerationOptions read_generation(const FieldReader& fields, const Service& service) {
  GenerationOptions options;
  options.model = fields.string("model").value_or("");
  read_sampling(fields, service, options.request.sampling);
  options.seeded = fields.has("seed") || service.options.seed;
  options.max_tokens = fields.has("max_completion_tokens") ? fields.integer("max_completion_tokens")
                                                           : fields.integer("max_tokens");
  options.request.min_tokens = fields.integer("min_tokens").value_or(0);
  options.n = fields.integer("n").value_or(1);
  if (fields.integer("best_of").value_or(options.n) != options.n)
    fields.refuse(422, "best_of", "expected the same number as n");
  read_stops(fields, options);
  for (const int64_t id : fields.integers("stop_token_ids", 0, service.config.vocab_size - 1))
    options.request.stop_token_ids.push_back(static_cast<int32_t>(id));
  if (!fields.boolean("ignore_eos").value_or(false)) {
    const auto& ids = service.stop_token_ids;
    options.request.stop_token_ids.insert(options.request.stop_token_ids.end(), ids.begin(), ids.end());
  }
  options.include_stop = fields.boolean("include_stop_str_in_output").value_or(false);
  options.skip_special = fields.boolean("skip_special_tokens").value_or(true);
  options.stream = fields.boolean("stream").value_or(false);
  if (const json* stream = fields.find("stream_options")) {
    constexpr FieldRule kRules[] = {{"include_usage", FieldType::kBoolean},
                                    {"continuous_usage_stats", FieldType::kBoolean}};
    const FieldReader inner(*stream, kRules, "stream_options.");
    options.usage_on_each = inner.boolean("continuous_usage_stats").value_or(false);
    options.include_usage = inner.boolean("include_usage").value_or(false) || options.usage_on_each;
  }
  options.request.constraint = read_constraint(fields);
  options.request.priority = static_cast<int32_t>(fields.integer("priority").value_or(0));
  options.request.cache_salt = fields.string("cache_salt").value_or(fields.string("user_id").value_or(""));
  options.token_ids_as_tokens = fields.boolean("return_tokens_as_token_ids").value_or(false);
  options.return_token_ids = fields.boolean("return_token_ids").value_or(false);
  return options;
}

void check_model(const FieldReader& fields, const Service& service) {
  const auto name = fields.string("model");
  if (!name || !service.options.strict_model_name) return;
  const auto& known = service.options.served_names;
  if (std::ranges::find(known, *name) != known.end()) return;
  throw ApiError(404, fmt::format("The model `{}` does not exist.", *name), "model");
}

int64_t answer_room(const Service& service, int64_t prompt_tokens, std::optional<int64_t> wanted) {
  const int64_t context = service.max_model_len;
  const int64_t answer = wanted.value_or(1);
  if (prompt_tokens + answer <= context) return wanted.value_or(context - prompt_tokens);
  ApiError error(
      400, fmt::format(
               "This model's maximum context length is {} tokens. However, you requested {} tokens ({} in "
               "the messages, {} in the completion). Please reduce the length of the messages or completion.",
               context, prompt_tokens + answer, prompt_tokens, answer));
  error.details = {{"n_prompt_tokens", prompt_tokens}, {"n_ctx", context}};
  throw error;
}

Submission submission_for(const GenerationOptions& options, std::vector<int32_t> prompt, int64_t max_tokens,
                          int64_t choice) {
  Submission request = options.request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.seed += static_cast<uint64_t>(choice);
  return request;
}

}  // namespace hadal::serve
