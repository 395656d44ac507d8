// hadal inspect: what a model is and what of it runs here, from its files alone. Reads no tensor's numbers.
#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/common.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/core/memory.h"
#include "hadal/engine/kv_cache.h"
#include "hadal/model/inspection.h"
#include "hadal/text/chat_template.h"
#include "hadal/text/tokenizer.h"

namespace hadal::cli {
namespace {

constexpr const char* kInspectFooter =
    R"(With --json, one object:
  model, folder          the name as given; the folder, or null for a config.json alone
  model_type, architecture, context_length
  parameters             {total, active, mtp}: active is what multiplies one token; total and active leave MTP out
  bytes                  {<format>: bytes, ..., "total": bytes}
  bytes_from             "files", or "config" where there are no weights
  kv_bytes_per_token     in BF16
  mtp_modules            {config, present}
  tokenizer              {present, vocab_size, problem}
  chat_template          {present, problem}
  memory                 {needed, available, kv_tokens}: bytes (available: null where it cannot be read); tokens of
                         KV cache that fit beside the weights
  runs                   {logits, mtp_logits, generate, chat}: each null if it runs here, else the reason why not)";

constexpr int64_t kUnknownMemory =
    std::numeric_limits<int64_t>::max();  // what available_memory_bytes says then

/// A file that is there or not, and why it cannot be used.
struct Part {
  bool present = false;
  std::string problem;
  int64_t vocab_size = 0;
};

struct InspectReport {
  std::string model;
  model::Inspection found;
  Part tokenizer, chat_template;
  int64_t memory_needed = 0, memory_available = 0, kv_tokens = 0;
  std::vector<std::pair<const char*, std::string>> runs;  // what, and why not; empty: it runs
};

Part look_at_tokenizer(const std::string& folder) {
  Part part;
  part.present = std::filesystem::exists(std::filesystem::path(folder) / "tokenizer.json");
  if (!part.present) return part;
  try {
    part.vocab_size = text::Tokenizer::load(folder).vocab_size();
  } catch (const Error& e) {
    part.problem = e.what();
  }
  return part;
}

// A template may be a file of its own or a key of tokenizer_config.json: whether there is one, only loading tells.
Part look_at_chat_template(const std::string& folder) {
  Part part;
  try {
    text::ChatTemplate::load(folder);
    part.present = true;
  } catch (const Error& e) {
    part.problem = e.what();
  }
  return part;
}

std::string why_not_logits(const InspectReport& report) {
  if (!report.found.has_weights) return "there are no weights, only config.json";
  if (!report.found.problem.empty()) return report.found.problem;
  return "";
}

std::string why_not(const Part& part, const std::string& name) {
  if (!part.problem.empty()) return part.problem;
  return part.present ? "" : "no " + name;
}

// What each use needs beside what the one before it needs.
void decide_what_runs(InspectReport& report) {
  const std::string logits = why_not_logits(report);
  std::string mtp_logits = logits;
  if (mtp_logits.empty() && report.found.mtp_modules == 0) mtp_logits = "no multi-token-prediction module";
  const std::string generate = logits.empty() ? why_not(report.tokenizer, "tokenizer.json") : logits;
  const std::string chat = generate.empty() ? why_not(report.chat_template, "chat template") : generate;
  report.runs = {{"logits", logits}, {"mtp_logits", mtp_logits}, {"generate", generate}, {"chat", chat}};
}

// Tokens whose cache fits beside the weights; the modules that draft have a cache of their own.
int64_t kv_tokens(const InspectReport& report) {
  model::ModelConfig config = report.found.config;
  config.num_nextn_predict_layers = report.found.mtp_modules;
  const int64_t left = report.memory_available - report.memory_needed;
  return std::max<int64_t>(0, left) / engine::KvCache::bytes(config, 1, Format::kBF16);
}

InspectReport make_report(const std::string& name) {
  InspectReport report;
  report.model = name;
  const bool is_file = std::filesystem::is_regular_file(name);
  report.found = model::inspect(is_file ? name : model_folder(name));
  if (!is_file) {
    report.tokenizer = look_at_tokenizer(report.found.folder);
    report.chat_template = look_at_chat_template(report.found.folder);
  }
  report.memory_needed = report.found.size.total_bytes();
  report.memory_available = available_memory_bytes();
  report.kv_tokens = kv_tokens(report);
  decide_what_runs(report);
  return report;
}

json null_if_empty(const std::string& text) {
  return text.empty() ? json(nullptr) : json(text);
}

std::string to_json(const InspectReport& report) {
  const model::Inspection& found = report.found;
  json bytes = json::object(), runs = json::object();
  for (const model::FormatBytes& format : found.size.bytes_by_format) {
    bytes[format.format] = format.bytes;
  }
  bytes["total"] = found.size.total_bytes();
  for (const auto& [what, reason] : report.runs) runs[what] = null_if_empty(reason);
  const json all = {
      {"model", report.model},
      {"folder", null_if_empty(found.folder)},
      {"model_type", found.config.model_type},
      {"architecture", model::describe(found.config)},
      {"context_length", found.config.max_position_embeddings},
      {"parameters",
       {{"total", found.size.total_params},
        {"active", found.size.active_params},
        {"mtp", found.size.mtp_params}}},
      {"bytes", bytes},
      {"bytes_from", found.has_weights ? "files" : "config"},
      {"kv_bytes_per_token", found.size.kv_bytes_per_token},
      {"mtp_modules",
       {{"config", found.config.num_nextn_predict_layers},
        {"present", found.has_weights ? found.mtp_modules : 0}}},
      {"tokenizer",
       {{"present", report.tokenizer.present},
        {"vocab_size", report.tokenizer.vocab_size},
        {"problem", null_if_empty(report.tokenizer.problem)}}},
      {"chat_template",
       {{"present", report.chat_template.present}, {"problem", null_if_empty(report.chat_template.problem)}}},
      {"memory",
       {{"needed", report.memory_needed},
        {"available",
         report.memory_available == kUnknownMemory ? json(nullptr) : json(report.memory_available)},
        {"kv_tokens", report.kv_tokens}}},
      {"runs", runs}};
  return all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

// "name           first line", and further lines below the first.
void add_row(std::string& out, std::string_view name, std::string_view text) {
  out += fmt::format("{:<15}", name);
  for (const char c : text) {
    out += c;
    if (c == '\n') out.append(15, ' ');
  }
  out += '\n';
}

std::string parameters_text(const model::ModelSize& size) {
  return fmt::format("{} ({}), of which {} ({}) for one token", model::format_count(size.total_params),
                     size.total_params, model::format_count(size.active_params), size.active_params);
}

std::string mtp_text(const model::Inspection& found) {
  const int64_t promised = found.config.num_nextn_predict_layers;
  if (promised == 0) return "none";
  if (found.mtp_modules == 0) return "in config.json, but not in the weights";
  return fmt::format("{} of {} ({}) parameters",
                     promised == 1 ? "1 module" : fmt::format("{} modules", promised),
                     model::format_count(found.size.mtp_params), found.size.mtp_params);
}

std::string weights_text(const model::Inspection& found) {
  std::string text = format_bytes(found.size.total_bytes()) + ":";
  for (const model::FormatBytes& format : found.size.bytes_by_format) {
    text += fmt::format(" {} {},", format.format, format_bytes(format.bytes));
  }
  text.pop_back();
  if (found.config.quantization)
    text += fmt::format("; {:.2f} bits a parameter", found.size.bits_per_param());
  return found.has_weights ? text : text + "\nby config.json; there are no weights here";
}

std::string part_text(const Part& part, const std::string& details) {
  if (!part.problem.empty()) return part.problem;
  return part.present ? details : "absent";
}

std::string memory_text(const InspectReport& report) {
  const std::string needed = fmt::format("{} for the weights", format_bytes(report.memory_needed));
  if (report.memory_available == kUnknownMemory) return needed + "; how much is available cannot be read";
  return fmt::format("{}, {} available: {}", needed, format_bytes(report.memory_available),
                     report.memory_needed > report.memory_available
                         ? "they do not fit; what is missing is read from the disk again and again"
                         : fmt::format("room for {} tokens in the KV cache", report.kv_tokens));
}

std::string runs_text(const InspectReport& report) {
  std::string text, previous;
  for (const auto& [what, reason] : report.runs) {
    const std::string answer = reason.empty()       ? "yes"
                               : reason == previous ? "no, for the same reason"
                                                    : "no: " + reason;
    text += fmt::format("{}{:<11} {}", text.empty() ? "" : "\n", what, answer);
    previous = reason;
  }
  return text;
}

std::string to_text(const InspectReport& report) {
  const model::Inspection& found = report.found;
  std::string out;
  if (!report.model.empty()) add_row(out, "model", report.model);
  if (!found.folder.empty()) add_row(out, "folder", found.folder);
  add_row(out, "architecture", fmt::format("{}", fmt::join(model::describe(found.config), "\n")));
  add_row(out, "parameters", parameters_text(found.size));
  add_row(out, "MTP", mtp_text(found));
  add_row(out, "weights", weights_text(found));
  add_row(out, "KV cache", fmt::format("{} bytes per token in BF16", found.size.kv_bytes_per_token));
  add_row(out, "context", fmt::format("{} tokens", found.config.max_position_embeddings));
  if (!found.folder.empty()) {
    add_row(out, "tokenizer",
            part_text(report.tokenizer, fmt::format("{} ids", report.tokenizer.vocab_size)));
    add_row(out, "chat template", part_text(report.chat_template, "present"));
  }
  add_row(out, "memory", memory_text(report));
  add_row(out, "runs here", runs_text(report));
  return out;
}

}  // namespace

void add_inspect(CLI::App& app) {
  struct Options {
    std::string model;
    bool as_json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* cmd = app.add_subcommand("inspect", "Say what a model is, how large, and what of it runs here");
  cmd->add_option(
      "model,-m,--model", options->model,
      "Folder of a Hugging Face checkpoint, org/name in the local Hugging Face cache, or a config.json "
      "alone (default: the built-in model)");
  cmd->add_flag("--json", options->as_json, "Print JSON");
  cmd->footer(kInspectFooter);
  cmd->callback([options] {
    const InspectReport report = make_report(options->model);
    write_stdout(options->as_json ? to_json(report) : to_text(report));
  });
}

}  // namespace hadal::cli
