#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/core/json.h"
#include "hadal/model/model.h"
#include "hadal/ops/context.h"
#include "hadal/serve/submission.h"

namespace hadal::serve {

/// What tells that two servers compute the same: the weights, and the arithmetic on them. What results do not depend on (threads,
/// batch, cache, drafts) is not in it.
struct ModelIdentity {
  std::string name;  // as it is served, for people
  std::string
      checkpoint;  // SHA-256 of config.json, tokenizer.json and, of each tensor, name, type, shape and first bytes
  std::string dtype, activation_format, kv_cache_dtype, isa;
};

/// The name is not a part of it: the same folder may be served under any.
bool computes_the_same(const ModelIdentity& a, const ModelIdentity& b);

/// Looks at a few bytes of each tensor of a bound model. Throws kIo.
ModelIdentity identify(const model::Model& model, const ops::Precision& precision, std::string name);

/// How a recorded run ended: as the engine says; by a stop string, which the engine does not know; because its client went or its
/// time was up; by an error. The last three leave a beginning of what the engine would have given.
enum class RecordEnd : uint8_t { kStop, kLength, kStopString, kAbort, kError };
std::string_view to_string(RecordEnd end);

/// A prompt and choice as it was asked for and answered: a line of --record (docs/operations.md has its fields).
struct RequestRecord {
  std::string version;  // of the program
  ModelIdentity model;
  std::string id;  // the request's; several prompts and choices have one
  int64_t index = 0;
  Submission submission;  // the salt is not written: it may be a name, and results do not depend on it
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;         // of each token
  std::vector<float> prompt_logprobs;  // of the prompt's tokens from the second on, if they were scored
  RecordEnd end = RecordEnd::kAbort;
};

/// A line is read up to this size; the longest context of the family, with its answer, is a quarter of it.
inline constexpr int64_t kMaxRecordBytes = int64_t{16} << 20;

json to_json(const RequestRecord& record);

/// Reads what to_json has made, from a file that anybody may have written. Throws kRequest, with `where` first, for all else; but
/// whether token ids are the model's is left to Engine::check.
RequestRecord parse_record(std::string_view line, const std::string& where);

/// The request that shows whether a record is true: every token's logprob is asked for, and it does not run longer than the record
/// does, or a token more to see that it ends there. Nothing: the record has nothing to compare.
std::optional<Submission> replay_submission(const RequestRecord& record);

/// What came of that request.
struct Replayed {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs, prompt_logprobs;
  engine::FinishReason reason = engine::FinishReason::kStop;
};

/// Where the two first differ, as a line for people: "token 5: recorded 17, computed 23". Numbers are compared bit by bit. Empty: they are
/// equal, as far as the record goes.
std::string first_difference(const RequestRecord& record, const Replayed& replayed);

}  // namespace hadal::serve
