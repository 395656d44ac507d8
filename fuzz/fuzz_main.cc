#include "fuzz/fuzz_main.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hadal/core/error.h"

// A sanitizer reserves terabytes of addresses, so RLIMIT_AS cannot bound allocations beside one.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HADAL_FUZZ_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HADAL_FUZZ_SANITIZED 1
#endif
#endif

// The names are the sanitizers' own interface.
// NOLINTBEGIN(bugprone-reserved-identifier, readability-identifier-naming)
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "max_allocation_size_mb=1024";
}
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)

namespace hadal::fuzz {
namespace {

constexpr uint64_t kSeed = 0x68616461'6c000001;
constexpr double kMaxSeconds = 1.0;

// What to type to repeat the input at hand; written before the input is run, because a crash handler may not format.
std::array<char, 256> repeat_command{};

void print_repeat_command() {
  // The process is about to end; nothing is left to do about a short write.
  [[maybe_unused]] const ssize_t written =
      write(STDERR_FILENO, repeat_command.data(), std::char_traits<char>::length(repeat_command.data()));
}

void on_crash(int signal) {
  print_repeat_command();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void install_crash_handlers() {
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(&print_repeat_command);
  std::signal(SIGABRT, &on_crash);
#ifndef HADAL_FUZZ_SANITIZED
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, &on_crash);
  const rlimit limit{.rlim_cur = rlim_t{1} << 30, .rlim_max = rlim_t{1} << 30};
  setrlimit(RLIMIT_AS, &limit);
#endif
}

std::string make_input(const Target& target, uint64_t number) {
  Random random(kSeed + number * 0x2545f4914f6cdd1dU);
  if (target.make && number % 2 == 0) return target.make(random);
  std::string input = random.pick(target.seeds);
  for (size_t n = 1 + random.below(4); n > 0; --n) mutate(input, random, target.dictionary);
  return input;
}

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Outcome {
  bool accepted = false;
  std::optional<std::string> finding;
};

Outcome run_one(const Target& target, std::string_view input) {
  // A copy in memory of exactly this size, so that a sanitizer sees a read beyond its end.
  const std::vector<char> exact(input.begin(), input.end());
  const double start = cpu_seconds();
  Outcome outcome;
  try {
    target.run({exact.data(), exact.size()});
    outcome.accepted = true;
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kInternal) outcome.finding = e.what();
  } catch (const std::exception& e) {
    outcome.finding = e.what();
  } catch (...) {
    outcome.finding = "an exception of an unknown type";
  }
  const double seconds = cpu_seconds() - start;
  if (!outcome.finding && seconds > kMaxSeconds)
    outcome.finding = fmt::format("{:.1f} s of CPU time", seconds);
  return outcome;
}

void check_seeds(const Target& target) {
  if (target.seeds.empty()) throw std::logic_error("no seeds");
  for (size_t i = 0; i < target.seeds.size(); ++i) {
    try {
      target.run(target.seeds[i]);
    } catch (const std::exception& e) {
      throw std::logic_error(fmt::format("seed {}: {}", i, e.what()));
    }
  }
}

uint64_t parse_number(const char* text) {
  const std::string_view digits = text;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || end != digits.data() + digits.size()) {
    throw std::logic_error(fmt::format("not a number: {}", text));
  }
  return number;
}

void run_all(const Target& target, uint64_t first, uint64_t count) {
  std::array<uint64_t, 2> tally{};  // refused, accepted
  for (uint64_t number = first; number < first + count; ++number) {
    const auto end =
        fmt::format_to_n(repeat_command.data(), repeat_command.size() - 1,
                         "{}: input {}; again with: {} 1 {}\n", target.name, number, target.name, number);
    *end.out = '\0';
    const Outcome outcome = run_one(target, make_input(target, number));
    if (outcome.finding) {
      print_repeat_command();
      throw std::logic_error(*outcome.finding);
    }
    ++tally[outcome.accepted ? 1 : 0];
  }
  fmt::print("{}: {} inputs, {} accepted, {} refused\n", target.name, count, tally[1], tally[0]);
  if (count >= 1000 && (tally[0] == 0 || tally[1] == 0))
    throw std::logic_error("all inputs end alike: nothing is tested");
}

}  // namespace

std::vector<std::string> read_seeds(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator("fuzz/seeds/" + folder))
    paths.push_back(entry.path());
  std::ranges::sort(paths);
  std::vector<std::string> seeds;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return seeds;
}

std::vector<std::string> json_words(std::vector<std::string> words) {
  for (const char* word : {"null", "true", "false", "[", "]", "{", "}", ",", ":"}) words.emplace_back(word);
  return words;
}

int fuzz_main(int argc, char** argv, const Target& target) {
  try {
    const uint64_t count = argc > 1 ? parse_number(argv[1]) : 20'000;
    const uint64_t first = argc > 2 ? parse_number(argv[2]) : 0;
    check_seeds(target);
    install_crash_handlers();
    run_all(target, first, count);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: {}\n", target.name, e.what());
    return 1;
  }
}

}  // namespace hadal::fuzz
