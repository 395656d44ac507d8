#include "cli/machine.h"

#include <fmt/format.h>

#include "hadal/core/machine.h"
#include "hadal/kernels/kernel_table.h"

namespace hadal::cli {
namespace {

constexpr double kGiga = 1e9, kTera = 1e12;

}  // namespace

Machine measure_machine(ThreadPool& pool) {
  return {cpu_name(), kernels::kernels().isa, pool.num_threads(), measure_limits(pool)};
}

double rounded(double value) {
  return std::stod(fmt::format("{:.4g}", value));
}

json to_json(const Machine& m) {
  json rates = json::object();
  for (size_t i = 0; i < kNumUnits; ++i)
    rates[std::string(to_string(static_cast<Unit>(i)))] = rounded(m.limits.op_per_s[i] / kTera);
  return {{"cpu", m.cpu},
          {"threads", m.threads},
          {"isa", m.isa},
          {"read_gb_s", rounded(m.limits.read_bytes_per_s / kGiga)},
          {"tflop_s", std::move(rates)}};
}

std::string to_text(const Machine& m) {
  const std::string who =
      m.cpu.empty() ? "as described" : fmt::format("{}, {} threads, {} kernels", m.cpu, m.threads, m.isa);
  return fmt::format("{}; reads {:.1f} GB/s; f32 {:.2f}, bf16 {:.2f}, int8 {:.2f} TFLOP/s", who,
                     m.limits.read_bytes_per_s / kGiga, m.limits.of(Unit::kF32) / kTera,
                     m.limits.of(Unit::kBF16) / kTera, m.limits.of(Unit::kInt8) / kTera);
}

}  // namespace hadal::cli
