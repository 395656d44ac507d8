#include "hadal/serve/record.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/engine/kv_cache.h"
#include "hadal/io/json_reader.h"
#include "hadal/io/sha256.h"
#include "hadal/kernels/kernel_table.h"

namespace hadal::serve {
namespace {

constexpr int64_t kFormat = 1;
constexpr int64_t kMostTokens = std::numeric_limits<int32_t>::max();
constexpr size_t kLongestName = 1024;

constexpr std::array<std::pair<std::string_view, RecordEnd>, 5> kEnds{
    {{"stop", RecordEnd::kStop},
     {"length", RecordEnd::kLength},
     {"stop_string", RecordEnd::kStopString},
     {"abort", RecordEnd::kAbort},
     {"error", RecordEnd::kError}}};
constexpr std::array<std::pair<std::string_view, text::Grammar::Kind>, 3> kConstraints{
    {{"json_schema", text::Grammar::Kind::kJsonSchema},
     {"regex", text::Grammar::Kind::kRegex},
     {"lark", text::Grammar::Kind::kLark}}};

template <class Table, class Value>
std::string_view name_in(const Table& table, Value value) {
  return std::ranges::find(table, value, &Table::value_type::second)->first;
}

// An object of the line, whose members must be there.
class Members {
 public:
  Members(const json& object, const std::string& where, std::string path)
      : object_(object), where_(where), path_(std::move(path)) {
    if (!object.is_object()) refuse("", "an object", object);
  }

  const json& at(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end())
      fail(ErrorKind::kRequest, "{}\n  key       {}{}\n  expected  it\n  found     nothing", where_, path_,
           key);
    return *found;
  }
  bool is_null(const char* key) const { return at(key).is_null(); }

  int64_t integer(const char* key, int64_t low, int64_t high) const {
    return checked_integer(key, at(key), low, high);
  }
  std::optional<int64_t> optional_integer(const char* key, int64_t low, int64_t high) const {
    return is_null(key) ? std::nullopt : std::optional(integer(key, low, high));
  }
  uint64_t bits64(const char* key) const {
    const json& value = at(key);
    if (!value.is_number_unsigned()) refuse(key, "a whole number from 0 to 2^64 - 1", value);
    return value.get<uint64_t>();
  }
  float number(const char* key) const { return checked_number(key, at(key)); }
  bool boolean(const char* key) const {
    const json& value = at(key);
    if (!value.is_boolean()) refuse(key, "true or false", value);
    return value.get<bool>();
  }
  std::string text(const char* key, size_t longest) const {
    const json& value = at(key);
    if (!value.is_string() || value.get_ref<const std::string&>().size() > longest)
      refuse(key, fmt::format("text of at most {} bytes", longest), value);
    return value.get<std::string>();
  }
  template <class Table>
  auto one_of(const char* key, const Table& table) const {
    const std::string found = text(key, kLongestName);
    const auto entry = std::ranges::find(table, found, &Table::value_type::first);
    if (entry != table.end()) return entry->second;
    std::string names;
    for (const auto& [name, value] : table) names += (names.empty() ? "" : ", ") + std::string(name);
    refuse(key, names, at(key));
  }

  const json& list(const char* key) const {
    const json& value = at(key);
    if (!value.is_array()) refuse(key, "a list", value);
    return value;
  }
  std::vector<int32_t> ids(const char* key) const {
    std::vector<int32_t> ids;
    for (const json& id : list(key))
      ids.push_back(static_cast<int32_t>(checked_integer(key, id, 0, kMostTokens)));
    return ids;
  }
  // Numbers by their bits: JSON has neither NaN nor infinity, and a log-probability can be minus infinity.
  std::vector<float> floats(const char* key) const {
    std::vector<float> floats;
    for (const json& bits : list(key))
      floats.push_back(std::bit_cast<float>(
          static_cast<uint32_t>(checked_integer(key, bits, 0, std::numeric_limits<uint32_t>::max()))));
    return floats;
  }
  std::map<int32_t, float> biases(const char* key) const {
    std::map<int32_t, float> biases;
    for (const json& pair : list(key)) {
      if (!pair.is_array() || pair.size() != 2) refuse(key, "pairs of a token id and a number", pair);
      const auto id = static_cast<int32_t>(checked_integer(key, pair[0], 0, kMostTokens));
      if (!biases.emplace(id, checked_number(key, pair[1])).second) refuse(key, "each id once", pair);
    }
    return biases;
  }

  [[noreturn]] void refuse(const char* key, std::string_view expected, const json& found) const {
    fail(ErrorKind::kRequest, "{}\n  key       {}{}\n  expected  {}\n  found     {}", where_, path_, key,
         expected, io::printable(found.dump(-1, ' ', true, json::error_handler_t::replace)));
  }

 private:
  int64_t checked_integer(const char* key, const json& value, int64_t low, int64_t high) const {
    const bool fits = value.is_number_unsigned() ? std::in_range<int64_t>(value.get<uint64_t>())
                                                 : value.is_number_integer();
    const int64_t number = fits ? value.get<int64_t>() : low;
    if (!fits || number < low || number > high)
      refuse(key, fmt::format("a whole number from {} to {}", low, high), value);
    return number;
  }
  float checked_number(const char* key, const json& value) const {
    const double number = value.is_number() ? value.get<double>() : HUGE_VAL;
    if (!(std::abs(number) <= std::numeric_limits<float>::max())) refuse(key, "a number", value);
    return static_cast<float>(number);
  }

  const json& object_;
  const std::string& where_;
  std::string path_;
};

json bits_of(std::span<const float> numbers) {
  json list = json::array();
  for (const float number : numbers) list.push_back(std::bit_cast<uint32_t>(number));
  return list;
}

json identity_json(const ModelIdentity& model) {
  return {{"name", model.name},
          {"checkpoint", model.checkpoint},
          {"dtype", model.dtype},
          {"activation_format", model.activation_format},
          {"kv_cache_dtype", model.kv_cache_dtype},
          {"isa", model.isa}};
}

ModelIdentity read_identity(const Members& model) {
  return {.name = model.text("name", kLongestName),
          .checkpoint = model.text("checkpoint", kLongestName),
          .dtype = model.text("dtype", kLongestName),
          .activation_format = model.text("activation_format", kLongestName),
          .kv_cache_dtype = model.text("kv_cache_dtype", kLongestName),
          .isa = model.text("isa", kLongestName)};
}

json sampling_json(const engine::Sampling& s) {
  json biases = json::array();
  for (const auto& [id, bias] : s.logit_bias) biases.push_back(json::array({id, bias}));
  return {{"temperature", s.temperature},
          {"top_k", s.top_k},
          {"top_p", s.top_p},
          {"min_p", s.min_p},
          {"repetition_penalty", s.repetition_penalty},
          {"presence_penalty", s.presence_penalty},
          {"frequency_penalty", s.frequency_penalty},
          {"logit_bias", biases},
          {"seed", s.seed},
          {"num_logprobs", s.num_logprobs}};
}

engine::Sampling read_sampling(const Members& s) {
  return {.temperature = s.number("temperature"),
          .top_k = static_cast<int32_t>(s.integer("top_k", 0, kMostTokens)),
          .top_p = s.number("top_p"),
          .min_p = s.number("min_p"),
          .repetition_penalty = s.number("repetition_penalty"),
          .presence_penalty = s.number("presence_penalty"),
          .frequency_penalty = s.number("frequency_penalty"),
          .logit_bias = s.biases("logit_bias"),
          .seed = s.bits64("seed"),
          .num_logprobs = static_cast<int32_t>(s.integer("num_logprobs", -1, kMostTokens))};
}

json submission_json(const Submission& s) {
  json constraint;
  if (s.constraint)
    constraint = {{"kind", name_in(kConstraints, s.constraint->kind)}, {"source", s.constraint->source}};
  return {{"prompt", s.prompt},
          {"sampling", sampling_json(s.sampling)},
          {"max_tokens", s.max_tokens},
          {"min_tokens", s.min_tokens},
          {"stop_token_ids", s.stop_token_ids},
          {"num_prompt_logprobs", s.num_prompt_logprobs},
          {"priority", s.priority},
          {"constraint", constraint},
          {"thinks", s.thinks},
          {"thinking_budget", s.thinking_budget ? json(*s.thinking_budget) : json()}};
}

Submission read_submission(const Members& s, const std::string& where) {
  Submission submission{
      .prompt = s.ids("prompt"),
      .sampling = read_sampling({s.at("sampling"), where, "request.sampling."}),
      .max_tokens = s.integer("max_tokens", 0, kMostTokens),
      .min_tokens = s.integer("min_tokens", 0, kMostTokens),
      .stop_token_ids = s.ids("stop_token_ids"),
      .num_prompt_logprobs = static_cast<int32_t>(s.integer("num_prompt_logprobs", -1, kMostTokens)),
      .priority = static_cast<int32_t>(s.integer("priority", -kMostTokens, kMostTokens)),
      .cache_salt = {},
      .constraint = {},
      .thinks = s.boolean("thinks"),
      .thinking_budget = s.optional_integer("thinking_budget", 0, kMostTokens)};
  if (submission.prompt.empty()) s.refuse("prompt", "a token at least", s.at("prompt"));
  if (s.is_null("constraint")) return submission;
  const Members constraint(s.at("constraint"), where, "request.constraint.");
  submission.constraint = {constraint.one_of("kind", kConstraints),
                           constraint.text("source", static_cast<size_t>(kMaxRecordBytes))};
  return submission;
}

// What no server can have written.
void check_answer(const RequestRecord& record, const Members& line) {
  const Submission& asked = record.submission;
  const size_t scores = asked.num_prompt_logprobs < 0 ? 0 : asked.prompt.size() - 1;
  if (std::ssize(record.tokens) > asked.max_tokens)
    line.refuse("tokens", fmt::format("at most max_tokens = {}", asked.max_tokens), record.tokens.size());
  if (record.logprobs.size() != record.tokens.size())
    line.refuse("logprob_bits", fmt::format("{}, one for each token", record.tokens.size()),
                record.logprobs.size());
  if (record.prompt_logprobs.size() > scores)
    line.refuse("prompt_logprob_bits", fmt::format("at most {}", scores), record.prompt_logprobs.size());
}

std::string different_bits(std::string_view what, size_t index, float recorded, float computed) {
  return fmt::format("{} {}: recorded logprob {} ({:08x}), computed {} ({:08x})", what, index, recorded,
                     std::bit_cast<uint32_t>(recorded), computed, std::bit_cast<uint32_t>(computed));
}

// The recorded numbers are a beginning of the computed ones.
std::string first_difference(std::string_view what, std::span<const float> recorded,
                             std::span<const float> computed) {
  for (size_t i = 0; i < recorded.size(); ++i) {
    if (i >= computed.size())
      return fmt::format("{}: recorded {} numbers, computed {}", what, recorded.size(), computed.size());
    if (std::bit_cast<uint32_t>(recorded[i]) != std::bit_cast<uint32_t>(computed[i]))
      return different_bits(what, i, recorded[i], computed[i]);
  }
  return "";
}

bool is_whole(RecordEnd end) {
  return end == RecordEnd::kStop || end == RecordEnd::kLength;
}

}  // namespace

std::string_view to_string(RecordEnd end) {
  return name_in(kEnds, end);
}

bool computes_the_same(const ModelIdentity& a, const ModelIdentity& b) {
  return a.checkpoint == b.checkpoint && a.dtype == b.dtype && a.activation_format == b.activation_format &&
         a.kv_cache_dtype == b.kv_cache_dtype && a.isa == b.isa;
}

// A checksum of all weights would take minutes; models that differ at all differ in the beginning of some tensor.
ModelIdentity identify(const model::Model& model, const ops::Precision& precision, std::string name) {
  constexpr size_t kFirstBytes = 64;
  constexpr int64_t kMaxFileBytes = int64_t{64} << 20;
  std::string text;
  for (const char* file : {"config.json", "tokenizer.json"}) {
    const std::string content =
        read_text_file(model.checkpoint.folder() + "/" + file, kMaxFileBytes, ErrorKind::kIo);
    text += fmt::format("{} {}\n{}\n", file, content.size(), content);
  }
  for (const io::TensorEntry* tensor : model.checkpoint.tensors()) {
    const auto first = tensor->data.first(std::min(tensor->data.size(), kFirstBytes));
    text += fmt::format("{} {} {} {}\n", tensor->name, io::to_string(tensor->dtype),
                        fmt::join(tensor->shape, "x"), first.size());
    text.append(reinterpret_cast<const char*>(first.data()), first.size());
  }
  return {.name = std::move(name),
          .checkpoint = io::sha256_hex(std::as_bytes(std::span(text))),
          .dtype = precision.f32 ? "float32" : "bfloat16",
          .activation_format = !precision.f8_activations ? "auto"
                               : precision.ue8m0         ? "fp8_ue8m0"
                                                         : "fp8",
          .kv_cache_dtype = std::string(to_string(precision.cache_format())),
          .isa = kernels::kernels().isa};
}

json to_json(const RequestRecord& record) {
  json line{{"hadal_record", kFormat},
            {"version", record.version},
            {"model", identity_json(record.model)},
            {"id", record.id},
            {"index", record.index},
            {"request", submission_json(record.submission)},
            {"finish_reason", to_string(record.end)},
            {"tokens", record.tokens},
            {"logprob_bits", bits_of(record.logprobs)},
            {"prompt_logprob_bits", bits_of(record.prompt_logprobs)}};
  return line;
}

RequestRecord parse_record(std::string_view text, const std::string& where) {
  const json object = parse_json(text, where, ErrorKind::kRequest);
  const Members line(object, where, "");
  line.integer("hadal_record", kFormat, kFormat);
  RequestRecord record{.version = line.text("version", kLongestName),
                       .model = read_identity({line.at("model"), where, "model."}),
                       .id = line.text("id", kLongestName),
                       .index = line.integer("index", 0, kMostTokens),
                       .submission = read_submission({line.at("request"), where, "request."}, where),
                       .tokens = line.ids("tokens"),
                       .logprobs = line.floats("logprob_bits"),
                       .prompt_logprobs = line.floats("prompt_logprob_bits"),
                       .end = line.one_of("finish_reason", kEnds)};
  check_answer(record, line);
  return record;
}

std::optional<Submission> replay_submission(const RequestRecord& record) {
  Submission submission = record.submission;
  if (record.tokens.empty() && record.prompt_logprobs.empty()) return std::nullopt;
  submission.sampling.num_logprobs = std::max(submission.sampling.num_logprobs, 0);
  const int64_t more = record.end == RecordEnd::kStop ? 1 : 0;
  submission.max_tokens = std::min(submission.max_tokens, std::ssize(record.tokens) + more);
  return submission;
}

std::string first_difference(const RequestRecord& record, const Replayed& replayed) {
  std::string found =
      first_difference("prompt token from the second on", record.prompt_logprobs, replayed.prompt_logprobs);
  if (!found.empty()) return found;
  for (size_t i = 0; i < std::min(record.tokens.size(), replayed.tokens.size()); ++i) {
    if (record.tokens[i] != replayed.tokens[i])
      return fmt::format("token {}: recorded {}, computed {}", i, record.tokens[i], replayed.tokens[i]);
    if (std::bit_cast<uint32_t>(record.logprobs[i]) != std::bit_cast<uint32_t>(replayed.logprobs[i]))
      return different_bits("token", i, record.logprobs[i], replayed.logprobs[i]);
  }
  const bool whole = is_whole(record.end);
  if (replayed.tokens.size() < record.tokens.size() ||
      (whole && replayed.tokens.size() > record.tokens.size())) {
    return fmt::format("token {}: recorded {} tokens, computed {}",
                       std::min(record.tokens.size(), replayed.tokens.size()), record.tokens.size(),
                       replayed.tokens.size());
  }
  const bool stopped = replayed.reason == engine::FinishReason::kStop;
  if (whole && stopped != (record.end == RecordEnd::kStop))
    return fmt::format("end: recorded {}, computed {}", to_string(record.end), stopped ? "stop" : "length");
  return "";
}

}  // namespace hadal::serve
