// No key of config.json is dead: each numeric one moves the logits when it changes, or is refused, or is on the list of
// harmless keys (with its reason), or on the short list below of keys with another effect.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "hadal/engine/teacher_forcing.h"
#include "hadal/model/generation_config.h"

namespace hadal::tests {
namespace {

namespace fs = std::filesystem;

// Alive, but not in the logits of a short sequence; each is tested at the place named.
const std::map<std::string, std::string> kOtherEffect = {
    {"bos_token_id", "the tokenizer's configuration has the last word; generation_config_test"},
    {"eos_token_id", "ends answers; generation_config_test"},
    {"max_position_embeddings", "bounds the context; scheduler_test and the test below"},
    {"num_nextn_predict_layers", "MTP logits; golden_test"},
};

class LivenessTest : public testing::TestWithParam<std::string> {
 protected:
  LivenessTest()
      : pool_(2), folder_(fs::temp_directory_path() / (fmt::format("hadal_liveness_{}", getpid()))) {
    fs::create_directories(folder_);
    for (const auto& entry : fs::directory_iterator(GetParam())) {
      if (entry.path().filename() == "config.json" || !entry.path().filename().string().starts_with("model"))
        continue;
      fs::create_symlink(fs::absolute(entry.path()), folder_ / entry.path().filename());
    }
    config_ = read_json_file(GetParam() + "/config.json", int64_t{1} << 20, ErrorKind::kIo);
  }
  ~LivenessTest() override { fs::remove_all(folder_); }

  // Logits of a fixed sequence under this config; empty when it is refused.
  std::vector<float> logits(const json& config) {
    std::ofstream(folder_ / "config.json") << config.dump();
    try {
      const model::Model model = model::load_model(folder_.string(), pool_);
      std::vector<int32_t> tokens(48);
      std::iota(tokens.begin(), tokens.end(), 5);
      // W8A8 too, where the checkpoint can: scale_fmt is alive only there.
      const ops::Precision precision{.f32 = true, .f8_activations = model.config.quantization.has_value()};
      return engine::run_tokens(model, pool_, precision, tokens, {}).logits.values();
    } catch (const Error& e) {
      EXPECT_TRUE(e.kind() == ErrorKind::kConfig || e.kind() == ErrorKind::kCheckpoint) << e.what();
      return {};
    }
  }

  // True if some changed value moves the logits or is refused.
  bool is_alive(const json::json_pointer& key, const std::vector<float>& expected) {
    for (const double factor : {2.0, 0.5, 0.03, 31.0}) {
      json changed = config_;
      json& value = changed[key];
      const double before = value.get<double>();
      const double after = before == 0.0 ? factor : before * factor;
      if (value.is_number_integer()) {
        value = static_cast<int64_t>(std::llround(std::max(1.0, after)));
      } else {
        value = after;
      }
      if (value == config_[key]) continue;
      if (logits(changed) != expected) return true;  // moved, or refused
    }
    return false;
  }

  ThreadPool pool_;
  fs::path folder_;
  json config_;
};

TEST_P(LivenessTest, EveryNumericKey) {
  const std::vector<float> expected = logits(config_);
  ASSERT_FALSE(expected.empty());
  std::set<std::string> harmless;
  for (const model::HarmlessKey& key : model::harmless_keys()) harmless.insert(key.key);
  int alive = 0;
  const json flat = config_.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (!value.is_number()) continue;
    const json::json_pointer key(pointer);
    const std::string name = key.back();
    if (harmless.contains(name) || kOtherEffect.contains(name)) continue;
    EXPECT_TRUE(is_alive(key, expected)) << pointer << " changes nothing";
    ++alive;
  }
  EXPECT_GT(alive, 15);  // the family's configs have some 20 numbers that matter
}

// Booleans and words that choose the arithmetic.
TEST_P(LivenessTest, ChoicesMoveTheLogitsOrAreRefused) {
  const std::vector<float> expected = logits(config_);
  const std::map<std::string, std::vector<json>> choices = {
      {"norm_topk_prob", {true, false}},
      {"scoring_func", {"softmax", "sigmoid"}},
      {"topk_method", {"greedy", "group_limited_greedy", "noaux_tc"}},
      {"tie_word_embeddings", {true, false}},
      {"rope_scaling", {nullptr}},
      {"q_lora_rank", {nullptr, 32}},
      {"model_type", {"deepseek_v2", "deepseek_v3"}},
  };
  for (const auto& [key, values] : choices) {
    for (const json& value : values) {
      json changed = config_;
      if (changed[key] == value) continue;
      // With one group, choosing by groups is choosing among all.
      if (key == "topk_method" && changed["n_group"] == 1 && value != "noaux_tc") continue;
      changed[key] = value;
      EXPECT_NE(logits(changed), expected) << key << " = " << value;
    }
  }
}

TEST_P(LivenessTest, HarmlessKeysAreHarmless) {
  const std::vector<float> expected = logits(config_);
  for (const auto& item : config_.items()) {
    const std::string name = item.key();
    const bool harmless =
        std::ranges::any_of(model::harmless_keys(), [&](const auto& key) { return name == key.key; });
    if (!harmless) continue;
    json changed = config_;
    changed.erase(name);
    EXPECT_EQ(logits(changed), expected) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, LivenessTest,
                         testing::Values("tests/golden/v2", "tests/golden/v2lite",
                                         "tests/golden/v31_fp8_ue8m0", "tests/golden/v3_fp8"),
                         [](const testing::TestParamInfo<std::string>& golden) {
                           return fs::path(golden.param).filename().string();
                         });

}  // namespace
}  // namespace hadal::tests
