// POST /v1/completions: text in, text out; and DeepSeek's /beta/completions, which can fill in between prompt and suffix.
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"
#include "hadal/serve/bill.h"
#include "hadal/serve/choice.h"
#include "hadal/serve/endpoint_rules.h"
#include "hadal/serve/generation.h"
#include "hadal/serve/generation_fields.h"
#include "hadal/serve/prompts.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;  // OpenAI's

struct CompletionRequest {
  GenerationOptions options;
  std::vector<Prompt> prompts;
  int64_t max_tokens = kDefaultMaxTokens;
  bool echo = false;
};

CompletionRequest parse(const json& body, const Service& service) {
  const FieldReader fields(body, completion_rules());
  check_model(fields, service);
  CompletionRequest request{read_generation(fields, service), {}, kDefaultMaxTokens, false};
  request.echo = fields.boolean("echo").value_or(false);
  request.max_tokens = request.options.max_tokens.value_or(kDefaultMaxTokens);
  const json* prompt = fields.find("prompt");
  if (!prompt) throw ApiError(400, "prompt: expected text or token ids, found nothing", "prompt");
  if (const auto suffix = fields.string("suffix"); suffix && !suffix->empty()) {
    if (!prompt->is_string())
      throw ApiError(400, "prompt: expected text, because there is a suffix", "prompt");
    request.prompts = {fill_in_prompt(service, prompt->get<std::string>(), *suffix)};
  } else {
    request.prompts = read_prompts(service, *prompt, fields.boolean("add_special_tokens").value_or(true));
  }
  const auto logprobs = static_cast<int32_t>(fields.integer("logprobs").value_or(-1));
  request.options.request.sampling.num_logprobs = logprobs;
  if (request.echo) request.options.request.num_prompt_logprobs = logprobs;
  if (const auto scored = fields.integer("prompt_logprobs"))
    request.options.request.num_prompt_logprobs = static_cast<int32_t>(*scored);
  if (request.max_tokens == 0 && !request.echo)
    throw ApiError(422, "max_tokens: expected at least 1, unless the prompt is echoed", "max_tokens");
  for (const Prompt& one : request.prompts) {
    if (std::ssize(one.ids) < service.max_model_len || request.max_tokens == 0)
      answer_room(service, std::ssize(one.ids), request.max_tokens);
    else
      answer_room(service, std::ssize(one.ids), std::max<int64_t>(request.max_tokens, 1));
  }
  return request;
}

int64_t count_characters(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

// OpenAI's four parallel lists, built token by token.
class LogprobLists {
 public:
  LogprobLists(const Service& service, bool token_ids)
      : service_(service), token_ids_(token_ids), text_(service.tokenizer, /*skip_special=*/true) {}

  // The first token of a prompt has no probability.
  void add_first(int32_t token) {
    begin(token);
    lists_["token_logprobs"].push_back(nullptr);
    lists_["top_logprobs"].push_back(nullptr);
  }
  void add(const engine::Sampled& sampled) {
    begin(sampled.token);
    lists_["token_logprobs"].push_back(finite_logprob(sampled.logprob));
    json top = json::object();
    const auto put = [&](int32_t token, float logprob) {
      const std::string name = token_text(service_, token, token_ids_);
      const auto found = top.find(name);  // two tokens with the same text: the more probable one
      if (found == top.end() || found->get<double>() < finite_logprob(logprob))
        top[name] = finite_logprob(logprob);
    };
    for (const engine::TokenLogprob& other : sampled.top) put(other.token, other.logprob);
    put(sampled.token, sampled.logprob);
    lists_["top_logprobs"].push_back(std::move(top));
  }
  // Offsets go on from here.
  void skip(int64_t characters) { offset_ += characters; }
  json take() {
    json taken = empty();
    std::swap(taken, lists_);
    return taken;
  }

 private:
  static json empty() {
    return {{"tokens", json::array()},
            {"token_logprobs", json::array()},
            {"top_logprobs", json::array()},
            {"text_offset", json::array()}};
  }
  void begin(int32_t token) {
    lists_["tokens"].push_back(token_text(service_, token, token_ids_));
    lists_["text_offset"].push_back(offset_);
    if (!service_.tokenizer.token(token).empty()) offset_ += count_characters(text_.push(token));
  }

  const Service& service_;
  bool token_ids_;
  text::Detokenizer text_;
  int64_t offset_ = 0;
  json lists_ = empty();
};

// A choice with what only this endpoint says about it.
struct Answer {
  Answer(const Service& service, const CompletionRequest& request, const Prompt& from)
      : prompt(from), choice(service, request.options), lists(service, request.options.token_ids_as_tokens) {}

  const Prompt& prompt;
  Choice choice;
  LogprobLists lists;
  bool began = false;
  std::vector<int32_t> token_ids;  // of the answer, not said yet
};

json piece_json(Answer& answer, size_t index, const CompletionRequest& request) {
  const auto& options = request.options;
  json piece{{"index", index},
             {"text", answer.choice.take_text()},
             {"logprobs", nullptr},
             {"finish_reason", nullptr},
             {"stop_reason", nullptr}};
  const bool first = !std::exchange(answer.began, true);
  if (first && request.echo) piece["text"] = answer.prompt.text + piece["text"].get<std::string>();
  const auto tokens = answer.choice.take_tokens();
  if (options.request.sampling.num_logprobs >= 0) {
    if (first && request.echo) {
      answer.lists.add_first(answer.prompt.ids[0]);
      for (const auto& sampled : answer.choice.prompt_logprobs()) answer.lists.add(sampled);
    } else if (first) {
      answer.lists.skip(count_characters(answer.prompt.text));
    }
    for (const auto& sampled : tokens) answer.lists.add(sampled);
    piece["logprobs"] = answer.lists.take();
  }
  if (options.return_token_ids) {
    if (first) piece["prompt_token_ids"] = answer.prompt.ids;
    piece["token_ids"] = json::array();
    for (const auto& sampled : tokens) piece["token_ids"].push_back(sampled.token);
  }
  if (answer.choice.is_finished()) {
    piece["finish_reason"] = answer.choice.finish_reason();
    piece["stop_reason"] = answer.choice.stop_reason();
  }
  return piece;
}

int64_t prompt_tokens(const CompletionRequest& request) {
  int64_t tokens = 0;
  for (const Prompt& prompt : request.prompts) tokens += std::ssize(prompt.ids);
  return tokens;
}

json usage_of(const std::vector<Answer>& answers, int64_t n) {
  int64_t prompt = 0, completion = 0, cached = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    completion += answers[i].choice.num_tokens();
    if (i % static_cast<size_t>(n) != 0) continue;  // the prompt counts once for all its choices
    prompt += std::ssize(answers[i].prompt.ids);
    cached += answers[i].choice.num_cached_tokens();
  }
  return usage_json(prompt, completion, cached, 0);
}

json prompt_logprobs_json(const Service& service, const Answer& answer) {
  json list = json::array({nullptr});
  for (const engine::Sampled& sampled : answer.choice.prompt_logprobs()) {
    json entry = json::object();
    const auto put = [&](int32_t token, float logprob) {
      entry[std::to_string(token)] = {{"logprob", finite_logprob(logprob)},
                                      {"decoded_token", token_text(service, token)}};
    };
    put(sampled.token, sampled.logprob);
    for (const auto& other : sampled.top) put(other.token, other.logprob);
    list.push_back(std::move(entry));
  }
  return list;
}

class Completion {
 public:
  Completion(Exchange& http, Service& service, CompletionRequest request)
      : http_(http),
        service_(service),
        request_(std::move(request)),
        bill_(http, service, request_.options.model, prompt_tokens(request_),
              request_.max_tokens * request_.options.n * std::ssize(request_.prompts)),
        generation_(http, service, request_.options.n),
        id_(random_id("cmpl-")),
        created_(unix_time()) {}

  asio::awaitable<void> run() {
    co_await service_.prepare(request_.options.request);
    submit();
    const bool stream = request_.options.stream;
    if (stream) co_await http_.begin_sse();
    http_.on_gone([this] { generation_.interrupt(); });
    while (open_ > 0 && !http_.client_gone()) {
      const auto items = co_await generation_.next(keepalive());
      std::string events = items.empty() && stream ? ": keep-alive\n\n" : "";
      for (const Generation::Item& item : items) take(item);
      if (stream) events += new_pieces();
      if (stream) bill_.progress(num_cached(), num_completed());
      co_await http_.send_events(events);
    }
    http_.on_gone(nullptr);
    if (http_.client_gone()) co_return;
    bill_.settle(num_cached(), num_completed());
    if (stream) {
      co_await finish_stream();
    } else {
      const json whole = whole_answer();
      co_await http_.send_json(whole);
    }
  }

 private:
  void submit() {
    const int64_t n = request_.options.n;
    answers_.reserve(request_.prompts.size() * static_cast<size_t>(n));
    for (const Prompt& prompt : request_.prompts) {
      for (int64_t j = 0; j < n; ++j) answers_.emplace_back(service_, request_, prompt);
    }
    touched_.assign(answers_.size(), false);
    // Only the prompt is wanted, and nothing about it has to be computed.
    if (request_.max_tokens == 0 && request_.options.request.num_prompt_logprobs < 0) {
      for (Answer& answer : answers_)
        answer.choice.take(engine::FinishedEvent{0, engine::FinishReason::kLength});
      touched_.assign(answers_.size(), true);
      return;
    }
    for (size_t i = 0; i < answers_.size(); ++i) {
      generation_.submit(i, submission_for(request_.options, answers_[i].prompt.ids, request_.max_tokens,
                                           static_cast<int64_t>(i) % n));
    }
    open_ = answers_.size();
  }

  void take(const Generation::Item& item) {
    Choice& choice = answers_[item.number].choice;
    if (choice.is_finished()) return;
    choice.take(item.event);
    touched_[item.number] = true;
    if (choice.is_stopped()) generation_.cancel(item.number);
    if (choice.is_finished()) --open_;
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

  std::chrono::steady_clock::duration keepalive() const {
    const auto seconds = service_.options.sse_keepalive;
    return seconds.count() > 0 ? seconds : std::chrono::seconds(3600);
  }

  json frame() const {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_},
            {"model", service_.model_name()},
            {"system_fingerprint", service_.fingerprint}};
  }

  // The prompt that is echoed goes out at once, with the log-probabilities of all of its tokens.
  bool is_scored(const Answer& answer) const {
    return !request_.echo || request_.options.request.num_prompt_logprobs < 0 || answer.began ||
           answer.choice.prompt_logprobs().size() + 1 >= answer.prompt.ids.size();
  }

  std::string new_pieces() {
    std::string events;
    for (size_t i = 0; i < answers_.size(); ++i) {
      if (!is_scored(answers_[i]) || !std::exchange(touched_[i], false)) continue;
      json piece = piece_json(answers_[i], i, request_);
      // A token may have no text yet, being half of a letter; it has an id all the same.
      const bool empty = piece["text"] == "" && piece["finish_reason"].is_null() &&
                         (piece["logprobs"].is_null() || piece["logprobs"]["tokens"].empty()) &&
                         !piece.contains("prompt_token_ids") &&
                         piece.value("token_ids", json::array()).empty();
      if (empty) continue;
      json chunk = frame();
      chunk["choices"] = json::array({std::move(piece)});
      if (request_.options.usage_on_each) chunk["usage"] = usage_of(answers_, request_.options.n);
      events += sse_event(dump(chunk));
    }
    return events;
  }

  asio::awaitable<void> finish_stream() {
    std::string events = new_pieces();
    if (request_.options.include_usage) {
      json chunk = frame();
      chunk["choices"] = json::array();
      chunk["usage"] = usage_of(answers_, request_.options.n);
      events += sse_event(dump(chunk));
    }
    events += sse_event("[DONE]");
    co_await http_.send_events(events);
    co_await http_.end_sse();
  }

  json whole_answer() {
    json whole = frame();
    whole["choices"] = json::array();
    for (size_t i = 0; i < answers_.size(); ++i) {
      json piece = piece_json(answers_[i], i, request_);
      const bool scored = request_.options.request.num_prompt_logprobs >= 0 && !request_.echo;
      if (scored) piece["prompt_logprobs"] = prompt_logprobs_json(service_, answers_[i]);
      whole["choices"].push_back(std::move(piece));
    }
    whole["usage"] = usage_of(answers_, request_.options.n);
    return whole;
  }

  Exchange& http_;
  Service& service_;
  CompletionRequest request_;
  std::vector<Answer> answers_;
  std::vector<char> touched_;  // something new since it was last written
  size_t open_ = 0;
  Bill bill_;
  Generation generation_;
  std::string id_;
  int64_t created_;
};

}  // namespace

asio::awaitable<void> completions(Exchange& http, Service& service) {
  static_cast<void>(service.engine());  // before anything else: is there one?
  CompletionRequest request;
  auto read = [&] { request = parse(parse_body(http.request().body), service); };
  co_await service.aside.read(http, read);
  Completion completion(http, service, std::move(request));
  co_await completion.run();
}

}  // namespace hadal::serve
