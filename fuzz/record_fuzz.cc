#include <stdexcept>
#include <string>
#include <string_view>

#include "fuzz/fuzz_main.h"
#include <nlohmann/json.hpp>

#include "hadal/core/json.h"
#include "hadal/serve/record.h"

namespace {

using hadal::serve::RequestRecord;

RequestRecord example() {
  RequestRecord record;
  record.version = "0.1.0";
  record.model = {"tiny-chat", "ab12", "bfloat16", "auto", "bfloat16", "avx512"};
  record.id = "req-1";
  record.submission.prompt = {1, 2, 3};
  record.submission.sampling.logit_bias = {{3, -0.1F}};
  record.submission.max_tokens = 4;
  record.submission.stop_token_ids = {2};
  record.tokens = {7, 2};
  record.logprobs = {-0.3F, -0.1F};
  record.end = hadal::serve::RecordEnd::kStop;
  return record;
}

RequestRecord scored_example() {
  RequestRecord record = example();
  record.submission.num_prompt_logprobs = 0;
  record.submission.constraint = {hadal::text::Grammar::Kind::kRegex, "[a-z]+"};
  record.submission.thinks = true;
  record.submission.thinking_budget = 8;
  record.prompt_logprobs = {-1.5F, -2.5F};
  record.end = hadal::serve::RecordEnd::kAbort;
  return record;
}

// What is accepted can be written again and says the same; and its replay is no longer than it.
void run(std::string_view line) {
  const RequestRecord record = hadal::serve::parse_record(line, "line");
  const std::string written = hadal::serve::to_json(record).dump();
  if (hadal::serve::to_json(hadal::serve::parse_record(written, "written")).dump() != written)
    throw std::logic_error("another record came back: " + written);
  const auto replay = hadal::serve::replay_submission(record);
  if (replay && replay->max_tokens > std::ssize(record.tokens) + 1)
    throw std::logic_error("a replay longer than its record");
}

}  // namespace

int main(int argc, char** argv) {
  return hadal::fuzz::fuzz_main(
      argc, argv,
      {.name = "fuzz_record",
       .seeds = {hadal::serve::to_json(example()).dump(), hadal::serve::to_json(scored_example()).dump()},
       .dictionary = hadal::fuzz::json_words({"\"hadal_record\":1,", "\"request\":{", "\"sampling\":{",
                                              "\"prompt\":[", "\"tokens\":[", "\"logprob_bits\":[",
                                              "\"constraint\":null", "\"kind\":\"lark\"", "\"stop_string\"",
                                              "\"error\"", "-", "1e400", "0.1"}),
       .run = run});
}
