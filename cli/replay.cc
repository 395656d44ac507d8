// hadal replay: the requests of a server's --record, computed again and compared bit by bit. The file is read twice, once to check
// all of it before anything runs, so that no more than a few of its requests are in memory.
#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/common.h"
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "hadal/core/error.h"
#include "hadal/engine/engine.h"
#include "hadal/io/json_reader.h"
#include "hadal/serve/record.h"
#include "hadal/text/tokenizer.h"

namespace hadal::cli {
namespace {

struct ReplayOptions {
  RunOptions run;
  std::string file, request_id;
  int64_t max_num_seqs = 1;
};

// A record and the line that it comes from.
struct Recorded {
  std::string where;
  serve::RequestRecord record;
};

// The records of a file, one at a time; with a request's id, only its.
class RecordFile {
 public:
  explicit RecordFile(const ReplayOptions& options)
      : path_(options.file), request_id_(options.request_id), file_(options.file, std::ios::binary) {
    if (!file_) fail(ErrorKind::kIo, "{}\n  cannot be opened", path_);
  }

  // Nothing: there are no more. Throws kRequest for a line that is no record, kIo.
  std::optional<Recorded> next() {
    while (read_line()) {
      if (line_.empty()) continue;
      const std::string where = fmt::format("{}:{}", path_, number_);
      auto record = serve::parse_record(line_, where);
      if (request_id_.empty() || record.id == request_id_) return Recorded{where, std::move(record)};
    }
    return std::nullopt;
  }

 private:
  bool read_line() {
    constexpr int kEnd = std::char_traits<char>::eof();
    line_.clear();
    ++number_;
    int c = 0;
    while ((c = file_.rdbuf()->sbumpc()) != kEnd && c != '\n') {
      if (std::ssize(line_) >= serve::kMaxRecordBytes)
        fail(ErrorKind::kRequest, "{}:{}\n  expected  at most {} bytes\n  found     more", path_, number_,
             serve::kMaxRecordBytes);
      line_.push_back(static_cast<char>(c));
    }
    return c != kEnd || !line_.empty();
  }

  std::string path_, request_id_, line_;
  std::ifstream file_;
  int64_t number_ = 0;
};

void check_model(const Recorded& recorded, const serve::ModelIdentity& found, const std::string& folder) {
  const serve::ModelIdentity& expected = recorded.record.model;
  if (serve::computes_the_same(expected, found)) return;
  const auto text = [](const serve::ModelIdentity& model, const std::string& name) {
    return io::printable(fmt::format("{}: checkpoint {}, dtype {}, activations {}, cache {}, {}", name,
                                     model.checkpoint.substr(0, 16), model.dtype, model.activation_format,
                                     model.kv_cache_dtype, model.isa));
  };
  fail(ErrorKind::kRequest,
       "{}\n  recorded with another model\n  expected  {}\n  found     {}\n"
       "  hint      --model, --dtype, --activation-format, --kv-cache-dtype, HADAL_ISA",
       recorded.where, text(expected, expected.name), text(found, folder));
}

struct Extent {
  int64_t records = 0, longest = 0;  // tokens of the longest prompt with its answer
};

// All that can be said before the weights are read: nothing runs if a line is bad or comes from another model.
Extent check_file(const ReplayOptions& options, const std::string& folder) {
  const model::Model model = model::bind_model(folder);
  const auto identity = serve::identify(model, precision_for(options.run, model), folder);
  Extent extent;
  RecordFile file(options);
  while (const auto recorded = file.next()) {
    check_model(*recorded, identity, folder);
    ++extent.records;
    const auto submission = serve::replay_submission(recorded->record);
    if (!submission) continue;
    const int64_t tokens = std::ssize(submission->prompt) + submission->max_tokens;
    if (tokens > model.config.max_position_embeddings)
      fail(ErrorKind::kRequest, "{}\n  expected  at most {} tokens of prompt and answer\n  found     {}",
           recorded->where, model.config.max_position_embeddings, tokens);
    extent.longest = std::max(extent.longest, tokens);
  }
  if (extent.records > 0) return extent;
  fail(ErrorKind::kRequest, "{}\n  expected  a record{}\n  found     none", options.file,
       options.request_id.empty() ? "" : " of request " + options.request_id);
}

// What is computed again, and what came of it.
class Replay {
 public:
  Replay(engine::Engine& engine, const text::Tokenizer& tokenizer) : engine_(engine), grammars_(tokenizer) {}

  int64_t num_running() const { return std::ssize(running_); }
  int64_t num_equal() const { return equal_; }
  int64_t num_different() const { return different_; }
  int64_t num_empty() const { return empty_; }
  int64_t num_tokens() const { return tokens_; }

  // Throws kRequest for a request that this model cannot run, with its line.
  void begin(Recorded recorded) {
    const auto submission = serve::replay_submission(recorded.record);
    if (!submission) {
      ++empty_;
      return;
    }
    try {
      const auto id =
          engine_.submit(serve::engine_request(*submission, grammars_, engine_.config().vocab_size));
      running_[id].recorded = std::move(recorded);
    } catch (const Error& e) {
      fail(e.kind(), "{}\n{}", recorded.where, e.what());
    }
  }

  void step() {
    engine_.step(
        [this](const engine::Event& event) { std::visit([this](const auto& e) { see(e); }, event); });
  }

 private:
  struct Running {
    Recorded recorded;
    serve::Replayed replayed;
  };

  void see(const engine::StartedEvent& /*event*/) {}
  void see(const engine::PromptEvent& event) {
    auto& logprobs = running_.at(event.id).replayed.prompt_logprobs;
    for (const engine::Sampled& sampled : event.tokens) logprobs.push_back(sampled.logprob);
  }
  void see(const engine::TokenEvent& event) {
    serve::Replayed& replayed = running_.at(event.id).replayed;
    replayed.tokens.push_back(event.sampled.token);
    replayed.logprobs.push_back(event.sampled.logprob);
    ++tokens_;
  }
  void see(const engine::FinishedEvent& event) {
    Running& running = running_.at(event.id);
    running.replayed.reason = event.reason;
    judge(running.recorded, serve::first_difference(running.recorded.record, running.replayed));
    running_.erase(event.id);
  }
  void see(const engine::FailedEvent& event) {
    judge(running_.at(event.id).recorded, "failed: " + event.message);
    running_.erase(event.id);
  }

  void judge(const Recorded& recorded, const std::string& difference) {
    ++(difference.empty() ? equal_ : different_);
    if (difference.empty()) return;
    write_stdout(fmt::format("{}: {} choice {}: {}\n", recorded.where, io::printable(recorded.record.id),
                             recorded.record.index, difference));
  }

  engine::Engine& engine_;
  serve::GrammarCache grammars_;
  std::map<engine::RequestId, Running> running_;
  int64_t equal_ = 0, different_ = 0, empty_ = 0, tokens_ = 0;
};

// Prompts are not shared: what a server took from its cache is computed here.
engine::EngineLimits limits_for(const ReplayOptions& options, const Extent& extent) {
  constexpr int64_t kPage = engine::Engine::kPageSize;
  const int64_t together = std::min(options.max_num_seqs, extent.records);
  const int64_t pages = (std::max<int64_t>(extent.longest, 2) + kPage - 1) / kPage;
  return {.max_num_seqs = together, .kv_cache_tokens = pages * kPage * together, .prefix_caching = false};
}

void replay(const ReplayOptions& options) {
  const std::string folder = model_folder(options.run.model);
  const Extent extent = check_file(options, folder);
  const engine::EngineLimits limits = limits_for(options, extent);
  const auto tokenizer = text::Tokenizer::load(folder);
  const LoadedModel loaded =
      load(options.run, [&](const model::ModelConfig& config, const ops::Precision& precision) {
        return engine::memory_needs(config, limits, precision);
      });
  engine::Engine engine(loaded.model, *loaded.pool, loaded.precision, limits);
  Replay replay(engine, tokenizer);
  RecordFile file(options);
  auto recorded = file.next();
  while (recorded || replay.num_running() > 0) {
    while (recorded && replay.num_running() < limits.max_num_seqs) {
      replay.begin(std::move(*recorded));
      recorded = file.next();
    }
    if (replay.num_running() > 0) replay.step();
  }
  write_stdout(fmt::format("{} equal, {} different, {} with nothing to compare; {} tokens\n",
                           replay.num_equal(), replay.num_different(), replay.num_empty(),
                           replay.num_tokens()));
  if (replay.num_different() > 0)
    fail(ErrorKind::kRequest, "{}\n  expected  the recorded bits\n  found     others in {} of {} requests",
         options.file, replay.num_different(), extent.records);
}

}  // namespace

void add_replay(CLI::App& app) {
  auto options = std::make_shared<ReplayOptions>();
  CLI::App* cmd =
      app.add_subcommand("replay", "Compute the requests of `hadal serve --record` again, and compare");
  cmd->add_option("FILE", options->file, "What --record has written")->required();
  cmd->add_option("--request-id", options->request_id, "Only this request (its X-Request-Id)");
  cmd->add_option("--max-num-seqs", options->max_num_seqs, "Requests that run together at most")
      ->capture_default_str()
      ->check(number_from(1, 4096));
  add_run_options(*cmd, options->run);
  cmd->callback([options] { replay(*options); });
}

}  // namespace hadal::cli
