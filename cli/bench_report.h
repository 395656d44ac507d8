#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/machine.h"
#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/engine/bench.h"

namespace hadal::cli {

/// One combination of lengths, measured some times.
struct BenchRun {
  std::string phase;  // "prefill" or "decode"
  int64_t prompt = 0, depth = 0, batch = 0, gen = 0;
  std::vector<engine::Timing> repeats{};
};

struct BenchReport {
  Machine machine;
  std::string model, format, kv_cache;
  std::vector<BenchRun> runs{};
};

/// The line above the runs, and a run's line, for a terminal.
std::string heading_text(const BenchReport& report);
std::string run_text(const BenchRun& run);

json to_json(const BenchReport& report);
std::string to_markdown(const BenchReport& report);

/// All repeats as a Chrome trace: a JSON array of complete events, microseconds. Throws kIo.
void write_trace(const std::string& path, const BenchReport& report);

}  // namespace hadal::cli
