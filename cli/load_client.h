#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hadal/core/json.h"
#include "hadal/serve/load_report.h"

namespace hadal::cli {

/// An HTTP server as a load generator sees it.
struct LoadTarget {
  std::string host = "127.0.0.1", port = "8000";
  std::string prefix;    // of the base URL's path, without a slash at its end
  std::string endpoint;  // "/v1/completions"
  std::string api_key;
};

/// http://host:port/prefix. Throws kUsage for anything else.
LoadTarget parse_base_url(const std::string& url);

/// How requests arrive: at this rate on average (a Poisson process; infinite: all at once), so many at a time.
struct LoadShape {
  double request_rate = 0.0;
  int64_t max_concurrency = 0;  // 0: any number
  uint64_t seed = 0;
};

/// GET; the answer's body. Throws kIo when there is none or its status is not 200.
std::string get(const LoadTarget& target, const std::string& path);

/// Sends all bodies as POST requests and reads their streams, on this thread. A sample for each, in their order, and how long it
/// took altogether.
struct LoadResult {
  std::vector<serve::LoadSample> samples;
  double duration_s = 0.0;
};
LoadResult run_load(const LoadTarget& target, const LoadShape& shape, const std::vector<std::string>& bodies);

}  // namespace hadal::cli
