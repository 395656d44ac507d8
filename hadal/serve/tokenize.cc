// /tokenize and /detokenize as vLLM, SGLang and llama.cpp have them: whatever is asked, all of their answers.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/chat_request.h"
#include "hadal/serve/choice.h"
#include "hadal/serve/endpoint_rules.h"
#include "hadal/serve/routes.h"

namespace hadal::serve {
namespace {

json pieces_json(const Service& service, const std::vector<int32_t>& ids) {
  json pieces = json::array();
  for (const int32_t id : ids) pieces.push_back({{"id", id}, {"piece", token_text(service, id)}});
  return pieces;
}

json tokens_of(const Service& service, const std::string& text, bool add_special) {
  return service.tokenizer.encode(text, add_special);
}

std::vector<int32_t> read_ids(const Service& service, const json& list) {
  std::vector<int32_t> ids;
  for (const json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() >= service.tokenizer.vocab_size())
      throw ApiError(
          422,
          fmt::format("tokens: expected token ids from 0 to {}, found {}", service.tokenizer.vocab_size() - 1,
                      id.is_number() ? id.dump() : id.type_name()),
          "tokens");
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

json tokens_answer(const json& body, const Service& service) {
  const FieldReader fields(body, tokenize_rules());
  const bool llama = fields.has("content");
  const json* text = fields.find(llama ? "content" : "prompt");
  json tokens;
  if (fields.has("messages")) {
    tokens = read_chat_request(body, service).prompt;
  } else if (text && text->is_string()) {
    const bool add = fields.boolean(llama ? "add_special" : "add_special_tokens").value_or(!llama);
    tokens = tokens_of(service, text->get<std::string>(), add);
  } else if (text && text->is_array()) {  // SGLang: a list for each
    tokens = json::array();
    for (const std::string& one : fields.strings(llama ? "content" : "prompt"))
      tokens.push_back(tokens_of(service, one, fields.boolean("add_special_tokens").value_or(true)));
  } else {
    throw ApiError(400, "expected prompt, content or messages", "prompt");
  }
  json result{{"tokens", tokens}, {"max_model_len", service.max_model_len}};
  const bool many = !tokens.empty() && tokens[0].is_array();
  if (many) {
    result["count"] = json::array();
    for (const json& one : tokens) result["count"].push_back(one.size());
  } else {
    result["count"] = tokens.size();
    const auto ids = tokens.get<std::vector<int32_t>>();
    if (fields.boolean("with_pieces").value_or(false)) result["tokens"] = pieces_json(service, ids);
    if (fields.boolean("return_token_strs").value_or(false)) {
      result["token_strs"] = json::array();
      for (const int32_t id : ids) result["token_strs"].push_back(service.tokenizer.token(id));
    }
  }
  return result;
}

json text_answer(const json& body, const Service& service) {
  const FieldReader fields(body, detokenize_rules());
  const json* tokens = fields.find("tokens");
  if (!tokens) throw ApiError(400, "tokens: expected a list of token ids", "tokens");
  const bool skip = fields.boolean("skip_special_tokens").value_or(false);
  json text;
  if (!tokens->empty() && (*tokens)[0].is_array()) {
    for (const json& one : *tokens) text.push_back(service.tokenizer.decode(read_ids(service, one), skip));
  } else {
    text = service.tokenizer.decode(read_ids(service, *tokens), skip);
  }
  return {{"prompt", text}, {"text", text}, {"content", text}};
}

asio::awaitable<void> answer_aside(Exchange& http, Service& service,
                                   json (*answer)(const json&, const Service&)) {
  json result;
  auto read = [&] { result = answer(parse_body(http.request().body), service); };
  co_await service.aside.read(http, read);
  co_await http.send_json(result);
}

}  // namespace

asio::awaitable<void> tokenize(Exchange& http, Service& service) {
  return answer_aside(http, service, tokens_answer);
}

asio::awaitable<void> detokenize(Exchange& http, Service& service) {
  return answer_aside(http, service, text_answer);
}

}  // namespace hadal::serve
