#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/core/json.h"

namespace hadal::serve {

/// What a client of a load generator saw of one request. Seconds.
struct LoadSample {
  bool ok = false;
  std::string error;  // why not
  int64_t input_tokens = 0, output_tokens = 0;
  double first_token_s = 0.0, total_s = 0.0;
  std::vector<double> gaps_s;  // between the pieces of the answer
};

/// A list's q-quantile, 0 to 1, between its values by linear interpolation (NumPy's default). 0 for an empty list.
double quantile(std::vector<double> values, double q);

struct LoadReport {
  /// Milliseconds.
  struct Times {
    std::string name;  // ttft, tpot, itl, e2el
    double mean = 0.0, median = 0.0, p99 = 0.0;
  };
  int64_t completed = 0, failed = 0, input_tokens = 0, output_tokens = 0;
  double duration_s = 0.0;
  std::vector<Times> times;  // in this order
};

/// As `vllm bench serve` defines them: of requests that succeeded; an answer's time per output token leaves out its first.
LoadReport make_report(std::span<const LoadSample> samples, double duration_s);

/// vLLM's table, and its names in JSON.
std::string to_table(const LoadReport& report);
json to_json(const LoadReport& report);

/// What a piece of a stream adds to the sample.
struct LoadPiece {
  bool has_text = false;
  int64_t input_tokens = -1, output_tokens = -1;  // usage; -1: not said
};

/// An event of /v1/completions or /v1/chat/completions, without "data: ". Throws kRequest for one that is no JSON or an error.
LoadPiece read_piece(std::string_view event);

}  // namespace hadal::serve
