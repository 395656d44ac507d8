#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/core/limits.h"
#include "hadal/core/thread_pool.h"

namespace hadal::cli {

/// What numbers were measured on or are predicted for, and what it can do at best.
struct Machine {
  std::string cpu, isa;  // the processor's name; the kernels' row. Empty for one that is only described
  int threads = 0;
  MachineLimits limits;
};

/// This one; takes about half a second.
Machine measure_machine(ThreadPool& pool);

/// {cpu, threads, isa, read_gb_s, tflop_s: {f32, bf16, int8}}
json to_json(const Machine& machine);
/// The same in one line.
std::string to_text(const Machine& machine);

/// A measurement as JSON shows it: four digits, more than it is good for.
double rounded(double value);

}  // namespace hadal::cli
