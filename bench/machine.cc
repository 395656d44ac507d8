// What this machine can do at best, with as many threads as it has or as the first argument says: the roof under which
// the other benchmarks stay.
#include "hadal/core/machine.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include "hadal/core/limits.h"

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : hadal::usable_cpus();
  if (threads < 1) {
    std::fprintf(stderr, "usage: machine [THREADS]\n");
    return 2;
  }
  hadal::ThreadPool pool(threads);
  const hadal::MachineLimits limits = hadal::measure_limits(pool);
  std::printf("%s, %d threads\n", hadal::cpu_name().c_str(), threads);
  std::printf("read  %8.1f GB/s\n", limits.read_bytes_per_s / 1e9);
  for (const hadal::Unit unit : {hadal::Unit::kF32, hadal::Unit::kBF16, hadal::Unit::kInt8})
    std::printf("%-5s %8.1f GFLOP/s\n", std::string(to_string(unit)).c_str(), limits.of(unit) / 1e9);
  return 0;
}
