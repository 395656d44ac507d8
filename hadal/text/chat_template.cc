#include "hadal/text/chat_template.h"

#include <ctime>
#include <filesystem>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/text/bridge_call.h"
#include "hadal/text/tokenizer_config.h"

namespace hadal::text {
namespace {

constexpr int64_t kMaxTemplateBytes = 1 << 20;  // the bridge refuses less, with a better message

struct Source {
  std::string where, text;
};

struct Sources {
  Source standard, with_tools;  // the same when the folder has only one template
};

Source named_template(const json& list, const std::string& where, const std::string& name) {
  for (const json& entry : list) {
    if (entry.is_object() && entry.value("name", json()) == name &&
        entry.value("template", json()).is_string()) {
      return {fmt::format("{} \"{}\"", where, name), entry["template"].get<std::string>()};
    }
  }
  return {};
}

Sources find_sources(const std::string& folder, const json& config) {
  const std::string file = folder + "/chat_template.jinja";
  std::error_code ignored;
  if (std::filesystem::exists(file, ignored)) {
    const Source source{file, read_text_file(file, kMaxTemplateBytes, ErrorKind::kCheckpoint)};
    return {source, source};
  }
  const std::string where = folder + "/tokenizer_config.json: chat_template";
  const json found = config.value("chat_template", json());
  if (found.is_string()) {
    const Source source{where, found.get<std::string>()};
    return {source, source};
  }
  if (found.is_null()) {
    fail(ErrorKind::kCheckpoint,
         "{}\n  expected  chat_template.jinja, or chat_template in tokenizer_config.json\n  found     "
         "neither\n"
         "  hint      a base model has none: use generate instead of chat",
         folder);
  }
  Sources sources{named_template(found, where, "default"), named_template(found, where, "tool_use")};
  if (sources.standard.where.empty()) {
    fail(ErrorKind::kCheckpoint, "{}\n  expected  a string, or a list with a template named \"default\"",
         where);
  }
  if (sources.with_tools.where.empty()) sources.with_tools = sources.standard;
  return sources;
}

Sources given_sources(const std::string& given) {
  const bool is_text = given.find("{{") != std::string::npos || given.find("{%") != std::string::npos;
  const Source source = is_text
                            ? Source{"chat template", given}
                            : Source{given, read_text_file(given, kMaxTemplateBytes, ErrorKind::kCheckpoint)};
  return {source, source};
}

size_t format_time(int64_t now, const char* format, char* out, size_t size) {
  const auto time = static_cast<std::time_t>(now);
  std::tm local{};
  if (localtime_r(&time, &local) == nullptr) return 0;
  return std::strftime(out, size, format, &local);
}

void check_parses(const Source& source) {
  bridge_call(ErrorKind::kCheckpoint, source.where, [&](hadal_buffer* error) {
    return hadal_template_check(bytes_of(source.text), source.text.size(), error);
  });
}

std::string dump(const json& context) {
  try {
    return context.dump();
  } catch (const json::type_error& e) {  // the one that dump() throws, for a string that is not UTF-8
    fail(ErrorKind::kRequest,
         "chat template\n  expected  UTF-8 in messages, tools and arguments\n  found     {}", e.what());
  }
}

}  // namespace

struct ChatTemplate::State {
  Sources sources;
  json special_tokens;  // bos_token, eos_token, ...: those that the config has
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

const std::string& ChatTemplate::source() const {
  return state_->sources.standard.text;
}

ChatTemplate ChatTemplate::load(const std::string& folder, const std::string& instead) {
  const json config = read_tokenizer_config(folder);
  Sources sources = instead.empty() ? find_sources(folder, config) : given_sources(instead);
  check_parses(sources.standard);
  check_parses(sources.with_tools);
  json special_tokens = json::object();
  for (const char* name :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    if (const auto token = special_token(config, name)) special_tokens[name] = *token;
  }
  return ChatTemplate(std::make_unique<State>(State{std::move(sources), std::move(special_tokens)}));
}

std::string ChatTemplate::render(const json& messages, const RenderOptions& options) const {
  if (!messages.is_array()) {
    fail(ErrorKind::kRequest, "messages\n  expected  a list\n  found     {}", messages.type_name());
  }
  json context = state_->special_tokens;
  context["documents"] = nullptr;
  if (options.template_args != nullptr) {
    if (!options.template_args->is_object()) {
      fail(ErrorKind::kRequest, "template arguments\n  expected  an object\n  found     {}",
           options.template_args->type_name());
    }
    context.update(*options.template_args);
  }
  context["messages"] = messages;
  context["tools"] = options.tools == nullptr ? json() : *options.tools;
  context["add_generation_prompt"] = options.add_generation_prompt;

  const bool has_tools = options.tools != nullptr && !options.tools->empty();
  const Source& source = has_tools ? state_->sources.with_tools : state_->sources.standard;
  const std::string variables = dump(context);
  const int64_t now = options.now.value_or(static_cast<int64_t>(std::time(nullptr)));
  hadal_buffer text{};
  bridge_call(ErrorKind::kRequest, "chat template", [&](hadal_buffer* error) {
    return hadal_template_render(bytes_of(source.text), source.text.size(), bytes_of(variables),
                                 variables.size(), now, &format_time, &text, error);
  });
  return take(text);
}

}  // namespace hadal::text
