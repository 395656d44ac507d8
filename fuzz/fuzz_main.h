#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/mutate.h"

namespace hadal::fuzz {

/// What a fuzz target is. Everything that reads untrusted bytes has one, in fuzz/<name>_fuzz.cc:
///
///     int main(int argc, char** argv) {
///       return hadal::fuzz::fuzz_main(argc, argv, {.name = "fuzz_config", .seeds = read_seeds("config"), ...});
///     }
struct Target {
  std::string name{};
  /// Valid inputs, which `run` must accept; every mutated input begins as one of them.
  std::vector<std::string> seeds{};
  /// Words of the format, which random bytes would hardly ever spell.
  std::vector<std::string> dictionary{};
  /// Returns: accepted. Throws hadal::Error of any kind but kInternal: refused. All else is a finding, so a promise
  /// about accepted inputs is checked here, by throwing std::logic_error when it is broken.
  std::function<void(std::string_view)> run{};
  /// Optional: an input that is well-formed where random bytes would not be, and wrong in one or two places. Every
  /// second input is then made by it.
  std::function<std::string(Random&)> make{};
};

/// The files of fuzz/seeds/<folder>, in name order, read from the working folder's repository.
std::vector<std::string> read_seeds(const std::string& folder);

/// A dictionary of JSON's own words and `words`.
std::vector<std::string> json_words(std::vector<std::string> words);

/// Runs `target` on [count = 20000] inputs, the first one numbered [first = 0]; both are read from argv. An input
/// depends on its number alone, so that `<program> 1 <number>` repeats one. Prints how many were accepted and refused.
/// Returns 0, or 1 at the first finding: an exception that is no refusal, an input that takes longer than a second of
/// CPU time, an allocation of 1 GiB, seeds that are refused, a run in which all inputs end alike. A crash or a
/// sanitizer's report is preceded by the input's number.
int fuzz_main(int argc, char** argv, const Target& target);

}  // namespace hadal::fuzz
