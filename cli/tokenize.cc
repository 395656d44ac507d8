#include <cstdint>
#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include <nlohmann/json.hpp>

#include "hadal/core/error.h"
#include "hadal/core/json.h"
#include "hadal/text/tokenizer.h"

namespace hadal::cli {
namespace {

struct TokenizeOptions {
  std::string model;
  bool add_special = false, decode = false, skip_special = false;
};

// The next line's one field, and where it was for messages.
class JsonLines {
 public:
  explicit JsonLines(const char* key) : key_(key) {}

  bool next(json& field) {
    std::string line;
    if (!std::getline(std::cin, line)) return false;
    where_ = fmt::format("stdin, line {}", ++number_);
    const json row = parse_json(line, where_, ErrorKind::kRequest);
    if (!row.is_object() || !row.contains(key_)) reject(row);
    field = row[key_];
    return true;
  }

  const std::string& where() const { return where_; }

  [[noreturn]] void reject(const json& found) const {
    fail(ErrorKind::kRequest, "{}\n  expected  an object with \"{}\"{}\n  found     {}", where_, key_,
         key_ == "text" ? ", a string" : ", a list of token ids", found.type_name());
  }

 private:
  std::string key_, where_;
  int64_t number_ = 0;
};

std::vector<int32_t> to_ids(const json& list, const JsonLines& lines) {
  if (!list.is_array()) lines.reject(list);
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const json& id : list) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<int32_t>::max()) lines.reject(id);
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

void encode_lines(const text::Tokenizer& tokenizer, bool add_special) {
  JsonLines lines("text");
  for (json field; lines.next(field);) {
    if (!field.is_string()) lines.reject(field);
    const auto ids = tokenizer.encode(field.get_ref<const std::string&>(), add_special);
    write_stdout(fmt::format("{{\"ids\": [{}]}}\n", fmt::join(ids, ", ")));
  }
}

void decode_lines(const text::Tokenizer& tokenizer, bool skip_special) {
  JsonLines lines("ids");
  for (json field; lines.next(field);) {
    const std::vector<int32_t> ids = to_ids(field, lines);
    for (const int32_t id : ids) {
      if (id < tokenizer.vocab_size()) continue;
      fail(ErrorKind::kRequest, "{}\n  expected  token ids below {}\n  found     {}", lines.where(),
           tokenizer.vocab_size(), id);
    }
    // ASCII only: some readers of lines take U+2028 in a string for the end of one.
    write_stdout(json{{"text", tokenizer.decode(ids, skip_special)}}.dump(-1, ' ', true) + "\n");
  }
}

constexpr const char* kTokenizeFooter =
    "One JSON object a line on stdin, one on stdout:\n"
    "  hadal tokenize < texts.jsonl             {\"text\": \"Hello\"}    ->  {\"ids\": [17464]}\n"
    "  hadal tokenize --decode < ids.jsonl      {\"ids\": [17464]}     ->  {\"text\": \"Hello\"}";

}  // namespace

void add_tokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* cmd = app.add_subcommand("tokenize", "Turn text into token ids, or ids into text");
  add_model_option(*cmd, options->model);
  auto* decode = cmd->add_flag("--decode", options->decode, "Turn ids into text");
  cmd->add_flag("--add-special", options->add_special, "Begin with BOS if the tokenizer's config says so")
      ->excludes(decode);
  cmd->add_flag("--skip-special-tokens", options->skip_special, "With --decode: leave special tokens out")
      ->needs(decode);
  cmd->footer(kTokenizeFooter);
  cmd->callback([options] {
    const auto tokenizer = text::Tokenizer::load(model_folder(options->model));
    if (options->decode) {
      decode_lines(tokenizer, options->skip_special);
    } else {
      encode_lines(tokenizer, options->add_special);
    }
  });
}

}  // namespace hadal::cli
