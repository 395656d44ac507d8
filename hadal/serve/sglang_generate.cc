// POST /generate, SGLang's own: what its bench and lm-eval's sglang-generate speak.
#include <utility>

#include <nlohmann/json.hpp>

#include "hadal/serve/bill.h"
#include "hadal/serve/choice.h"
#include "hadal/serve/endpoint_rules.h"
#include "hadal/serve/generation.h"
#include "hadal/serve/prompts.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

constexpr int64_t kDefaultNewTokens = 128;  // SGLang's

struct GenerateRequest {
  GenerationOptions options;
  std::vector<Prompt> prompts;
  int64_t max_tokens = kDefaultNewTokens;
  bool is_list = false, logprobs = false, texts = false;
  int64_t first_logprob = -1;  // of the prompt
};

std::vector<FieldRule> sampling_rules() {
  std::vector<FieldRule> rules = generation_rules();
  rules.push_back({"max_new_tokens", FieldType::kInteger, 0, 2147483647});
  rules.push_back({"min_new_tokens", FieldType::kInteger, 0, 2147483647});
  rules.push_back({"no_stop_trim", FieldType::kBoolean});
  return rules;
}

GenerateRequest parse(const json& body, const Service& service) {
  const FieldReader fields(body, sglang_rules());
  const json* given = fields.find("sampling_params");
  const json params = given ? *given : json::object();
  static const std::vector<FieldRule> rules = sampling_rules();
  const FieldReader sampling(params, rules, "sampling_params.");
  GenerateRequest request;
  request.options = read_generation(sampling, service);
  request.options.stream = fields.boolean("stream").value_or(false);
  request.options.include_stop = sampling.boolean("no_stop_trim").value_or(false);
  request.options.request.min_tokens = sampling.integer("min_new_tokens").value_or(0);
  request.max_tokens =
      sampling.integer("max_new_tokens").value_or(request.options.max_tokens.value_or(kDefaultNewTokens));
  request.logprobs = fields.boolean("return_logprob").value_or(false);
  request.texts = fields.boolean("return_text_in_logprobs").value_or(false);
  request.first_logprob = fields.integer("logprob_start_len").value_or(-1);
  if (request.logprobs) {
    const auto top = static_cast<int32_t>(fields.integer("top_logprobs_num").value_or(0));
    request.options.request.sampling.num_logprobs = top;
    if (request.first_logprob >= 0) request.options.request.num_prompt_logprobs = top;
  }
  const json* prompt = fields.has("text") ? fields.find("text") : fields.find("input_ids");
  if (!prompt) throw ApiError(400, "expected text or input_ids", "text");
  request.prompts = read_prompts(service, *prompt, true);
  request.is_list = prompt->is_array() && (fields.has("text") || (*prompt)[0].is_array());
  if (request.max_tokens == 0 && !request.logprobs)
    throw ApiError(422, "sampling_params.max_new_tokens: expected at least 1, unless the prompt is scored",
                   "max_new_tokens");
  for (const Prompt& one : request.prompts)
    request.max_tokens =
        std::min(request.max_tokens, answer_room(service, std::ssize(one.ids), std::nullopt));
  if (request.options.stream && request.prompts.size() * static_cast<size_t>(request.options.n) > 1)
    throw ApiError(400, "stream: expected one prompt and one answer", "stream");
  return request;
}

struct Answer {
  Answer(const Service& service, const GenerationOptions& options, const Prompt& from)
      : prompt(from), choice(service, options) {}
  const Prompt& prompt;
  Choice choice;
  std::string text;
  std::vector<engine::Sampled> tokens;

  void collect() {
    text += choice.take_text();
    for (engine::Sampled& sampled : choice.take_tokens()) tokens.push_back(std::move(sampled));
  }
};

int64_t prompt_tokens(const GenerateRequest& request) {
  int64_t tokens = 0;
  for (const Prompt& prompt : request.prompts) tokens += std::ssize(prompt.ids);
  return tokens;
}

class Generate {
 public:
  Generate(Exchange& http, Service& service, GenerateRequest request)
      : http_(http),
        service_(service),
        request_(std::move(request)),
        bill_(http, service, request_.options.model, prompt_tokens(request_),
              request_.max_tokens * request_.options.n * std::ssize(request_.prompts)),
        generation_(http, service, request_.options.n),
        id_(random_id("")),
        start_(std::chrono::steady_clock::now()) {}

  asio::awaitable<void> run() {
    co_await service_.prepare(request_.options.request);
    submit();
    const bool stream = request_.options.stream;
    if (stream) co_await http_.begin_sse();
    http_.on_gone([this] { generation_.interrupt(); });
    while (open_ > 0 && !http_.client_gone()) {
      const auto items = co_await generation_.next(std::chrono::hours(1));
      for (const Generation::Item& item : items) take(item);
      if (!stream || items.empty()) continue;
      bill_.progress(num_cached(), num_completed());
      const std::string event = sse_event(dump(answer_json(answers_[0])));
      co_await http_.send_events(event);
    }
    http_.on_gone(nullptr);
    if (http_.client_gone()) co_return;
    bill_.settle(num_cached(), num_completed());
    if (stream) {
      const std::string done = sse_event("[DONE]");
      co_await http_.send_events(done);
      co_await http_.end_sse();
      co_return;
    }
    json list = json::array();
    for (Answer& answer : answers_) list.push_back(answer_json(answer));
    const bool one = !request_.is_list && list.size() == 1;
    const json body = one ? list[0] : list;
    co_await http_.send_json(body);
  }

 private:
  void submit() {
    const int64_t n = request_.options.n;
    answers_.reserve(request_.prompts.size() * static_cast<size_t>(n));
    for (const Prompt& prompt : request_.prompts) {
      for (int64_t j = 0; j < n; ++j) answers_.emplace_back(service_, request_.options, prompt);
    }
    for (size_t i = 0; i < answers_.size(); ++i) {
      generation_.submit(i, submission_for(request_.options, answers_[i].prompt.ids, request_.max_tokens,
                                           static_cast<int64_t>(i) % n));
    }
    open_ = answers_.size();
  }

  void take(const Generation::Item& item) {
    Answer& answer = answers_[item.number];
    if (answer.choice.is_finished()) return;
    answer.choice.take(item.event);
    answer.collect();
    if (answer.choice.is_stopped()) generation_.cancel(item.number);
    if (answer.choice.is_finished()) --open_;
  }

  int64_t num_completed() const {
    int64_t tokens = 0;
    for (const Answer& answer : answers_) tokens += answer.choice.num_tokens();
    return tokens;
  }
  int64_t num_cached() const {
    int64_t tokens = 0;
    for (size_t i = 0; i < answers_.size(); i += static_cast<size_t>(request_.options.n))
      tokens += answers_[i].choice.num_cached_tokens();
    return tokens;
  }

  // [logprob, id, text], the first token of a prompt without a logprob.
  json triple(int32_t token, json logprob) const {
    return json::array(
        {std::move(logprob), token, request_.texts ? json(token_text(service_, token)) : json()});
  }
  json triples(const std::vector<engine::Sampled>& tokens) const {
    json list = json::array();
    for (const auto& sampled : tokens) list.push_back(triple(sampled.token, finite_logprob(sampled.logprob)));
    return list;
  }
  json tops(const std::vector<engine::Sampled>& tokens) const {
    json list = json::array();
    for (const auto& sampled : tokens) {
      json top = json::array();
      for (const auto& other : sampled.top) top.push_back(triple(other.token, finite_logprob(other.logprob)));
      list.push_back(std::move(top));
    }
    return list;
  }

  json answer_json(const Answer& answer) const {
    const Choice& choice = answer.choice;
    json reason;
    if (choice.is_finished()) {
      reason = {{"type", choice.finish_reason()}};
      if (choice.finish_reason() == "length") {
        reason["length"] = choice.num_tokens();
      } else {
        reason["matched"] = choice.stop_reason().is_null() && !answer.tokens.empty()
                                ? json(answer.tokens.back().token)
                                : choice.stop_reason();
      }
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start_;
    json meta{{"id", id_},
              {"finish_reason", reason},
              {"prompt_tokens", answer.prompt.ids.size()},
              {"completion_tokens", choice.num_tokens()},
              {"cached_tokens", choice.num_cached_tokens()},
              {"e2e_latency", taken.count()}};
    if (request_.logprobs) {
      const auto& scores = choice.prompt_logprobs();
      const auto skipped = static_cast<size_t>(std::max<int64_t>(request_.first_logprob, 0));
      json input = triples(scores), input_tops = tops(scores);
      if (!scores.empty()) {
        input.insert(input.begin(), triple(answer.prompt.ids[0], nullptr));
        input_tops.insert(input_tops.begin(), nullptr);
      }
      const auto cut = static_cast<std::ptrdiff_t>(std::min(skipped, input.size()));
      input.erase(input.begin(), input.begin() + cut);
      input_tops.erase(input_tops.begin(), input_tops.begin() + cut);
      meta["input_token_logprobs"] = input;
      meta["output_token_logprobs"] = triples(answer.tokens);
      meta["input_top_logprobs"] = input_tops;
      meta["output_top_logprobs"] = tops(answer.tokens);
    }
    json ids = json::array();
    for (const auto& sampled : answer.tokens) ids.push_back(sampled.token);
    return {{"text", answer.text}, {"output_ids", ids}, {"meta_info", meta}};
  }

  Exchange& http_;
  Service& service_;
  GenerateRequest request_;
  std::vector<Answer> answers_;
  size_t open_ = 0;
  Bill bill_;
  Generation generation_;
  std::string id_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace

asio::awaitable<void> sglang_generate(Exchange& http, Service& service) {
  static_cast<void>(service.engine());
  GenerateRequest request;
  auto read = [&] { request = parse(parse_body(http.request().body), service); };
  co_await service.aside.read(http, read);
  Generate generate(http, service, std::move(request));
  co_await generate.run();
}

}  // namespace hadal::serve
