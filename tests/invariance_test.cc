// Same tokens, same bits: a sequence's logits do not depend on threads, batch, chunks or pages (docs/architecture.md).
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "hadal/engine/engine.h"
#include "hadal/engine/teacher_forcing.h"
#include "hadal/model/deepseek.h"

namespace hadal::tests {
namespace {

struct Case {
  std::string folder;
  ops::Precision precision;
  std::string name;
};

class InvarianceTest : public testing::TestWithParam<Case> {
 protected:
  InvarianceTest() : pool_(2), model_(model::load_model(GetParam().folder, pool_)) {
    // Any ids will do; more than two pages, and more than one 512-token chunk where the context allows.
    const int64_t length = std::min<int64_t>(model_.config.max_position_embeddings, 600);
    for (int64_t i = 0; i < length; ++i) {
      tokens_.push_back(static_cast<int32_t>((i * 7919 + i * i * 31) % model_.config.vocab_size));
    }
  }

  std::vector<float> logits(ThreadPool& pool, const engine::ForcingOptions& options, size_t length) {
    return engine::run_tokens(model_, pool, GetParam().precision, std::span(tokens_).first(length), options)
        .logits.values();
  }

  static void expect_same_bits(std::span<const float> a, std::span<const float> b, const std::string& what) {
    ASSERT_EQ(a.size(), b.size()) << what;
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size_bytes()), 0) << what;
  }

  // The tokens and logprobs of each request when all of them share an engine.
  std::vector<std::vector<engine::Sampled>> generate(ThreadPool& pool,
                                                     const std::vector<engine::Request>& requests,
                                                     engine::EngineLimits limits,
                                                     engine::EngineStats* stats = nullptr) {
    engine::Engine engine(model_, pool, GetParam().precision, limits);
    std::map<engine::RequestId, size_t> index;
    for (size_t i = 0; i < requests.size(); ++i) index[engine.submit(requests[i])] = i;
    std::vector<std::vector<engine::Sampled>> answers(requests.size());
    while (engine.step([&](const engine::Event& event) {
      if (const auto* token = std::get_if<engine::TokenEvent>(&event)) {
        answers[index.at(token->id)].push_back(token->sampled);
      }
    })) {
    }
    if (stats) *stats = engine.stats();
    return answers;
  }

  std::vector<engine::Request> requests() const {
    std::vector<engine::Request> list;
    for (const size_t length : {3U, 70U, 1U, 130U, 64U}) {
      engine::Request request;
      request.prompt.assign(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(length));
      request.sampling.temperature = 0.9F;
      request.sampling.top_p = 0.95F;
      request.sampling.seed = 40 + length;
      request.sampling.num_logprobs = 2;
      request.max_tokens = 12 + static_cast<int64_t>(length % 5);
      list.push_back(request);
    }
    return list;
  }

  static void expect_same_answers(const std::vector<engine::Sampled>& a,
                                  const std::vector<engine::Sampled>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].token, b[i].token);
      EXPECT_EQ(std::memcmp(&a[i].logprob, &b[i].logprob, sizeof(float)), 0);
    }
  }

  ThreadPool pool_;
  model::Model model_;
  std::vector<int32_t> tokens_;
};

TEST_P(InvarianceTest, Threads) {
  ThreadPool one(1), three(3);
  for (const bool decode : {false, true}) {
    const size_t length = decode ? 90 : tokens_.size();
    const auto expected = logits(one, {.decode = decode}, length);
    expect_same_bits(logits(pool_, {.decode = decode}, length), expected, "2 threads");
    expect_same_bits(logits(three, {.decode = decode}, length), expected, "3 threads");
  }
}

// As on a server of two nodes: the weights in memory of our own, and threads that begin with their part of the rows.
TEST_P(InvarianceTest, NodesAndCopies) {
  ThreadPool nodes(ThreadPlan{{{0, {{}, {}}}, {0, {{}}}}});
  model::Model copied = model::bind_model(GetParam().folder);
  model::read_weights(copied, nodes, {.copies = true});
  for (const auto& file : copied.checkpoint.files())
    EXPECT_NE(file->bytes().data(), model_.checkpoint.files().front()->bytes().data());
  for (const bool decode : {false, true}) {
    const size_t length = decode ? 90 : tokens_.size();
    const auto tokens = std::span(tokens_).first(length);
    const auto found = engine::run_tokens(copied, nodes, GetParam().precision, tokens, {.decode = decode});
    expect_same_bits(found.logits.values(), logits(pool_, {.decode = decode}, length), "two nodes");
  }
}

// Small chunks make the keys of all earlier tokens anew each time: so those run on the sequence's beginning.
TEST_P(InvarianceTest, PrefillChunks) {
  const auto whole = logits(pool_, {}, tokens_.size());
  for (const auto& [chunk, length] : {std::pair<int64_t, size_t>{1, 40}, {7, 150}, {129, 600}, {512, 600}}) {
    const size_t count = std::min(length, tokens_.size());
    expect_same_bits(logits(pool_, {.chunk = chunk}, count),
                     std::span(whole).first(count * static_cast<size_t>(model_.config.vocab_size)),
                     fmt::format("chunks of {}", chunk));
  }
}

TEST_P(InvarianceTest, Pages) {
  constexpr int64_t kPage = engine::Engine::kPageSize;
  const auto length = static_cast<int64_t>(tokens_.size());
  const int64_t pages = (length + kPage - 1) / kPage;
  std::vector<int32_t> scattered(
      static_cast<size_t>(pages));  // every second page of a larger pool, backwards
  for (int64_t i = 0; i < pages; ++i)
    scattered[static_cast<size_t>(i)] = static_cast<int32_t>(2 * (pages - i) - 1);
  for (const bool decode : {false, true}) {
    const int64_t count = decode ? 90 : length;
    const auto expected = logits(pool_, {.decode = decode}, static_cast<size_t>(count));
    engine::KvCache cache(model_.config, 2 * pages, kPage, GetParam().precision.cache_format());
    Arena scratch;
    ops::Context ctx{pool_, scratch, GetParam().precision};
    engine::BatchBuilder builder(kPage);
    Tensor<float, 2> out({count, model_.config.vocab_size});
    const int64_t step = decode ? 1 : count;
    for (int64_t first = 0; first < count; first += step) {
      builder.clear();
      builder.add(
          {.tokens = std::span(tokens_).subspan(static_cast<size_t>(first), static_cast<size_t>(step)),
           .first_position = static_cast<int32_t>(first),
           .pages = scattered,
           .decode = decode,
           .all_logits = true});
      const ops::Batch batch = builder.batch();
      Tensor<float, 2> x({step, model_.config.hidden_size});
      model::forward(ctx, model_, batch, cache.layers(), 0, model_.config.num_hidden_layers, x.view(),
                     nullptr);
      model::head(ctx, model_, batch, x.view(), out.view().rows(first, step));
    }
    expect_same_bits(out.values(), expected, decode ? "absorbed" : "expanded");
  }
}

TEST_P(InvarianceTest, LayerRangesInParts) {
  const int64_t layers = model_.config.num_hidden_layers, count = 40;
  const auto expected = logits(pool_, {}, count);
  engine::KvCache cache(model_.config, 1, engine::Engine::kPageSize, GetParam().precision.cache_format());
  Arena scratch;
  ops::Context ctx{pool_, scratch, GetParam().precision};
  engine::BatchBuilder builder(engine::Engine::kPageSize);
  const std::vector<int32_t> pages{0};
  builder.add(
      {.tokens = std::span(tokens_).first(count), .first_position = 0, .pages = pages, .all_logits = true});
  const ops::Batch batch = builder.batch();
  Tensor<float, 2> x({count, model_.config.hidden_size}), out({count, model_.config.vocab_size});
  for (int64_t l = 0; l < layers; ++l) {
    model::forward(ctx, model_, batch, cache.layers(), l, l + 1, x.view(), nullptr);
  }
  model::head(ctx, model_, batch, x.view(), out.view());
  expect_same_bits(out.values(), expected, "a layer at a time");
}

TEST_P(InvarianceTest, BatchNeighbours) {
  const auto all = requests();
  const engine::EngineLimits roomy{.kv_cache_tokens = 2048};
  const auto together = generate(pool_, all, roomy);
  for (size_t i = 0; i < all.size(); ++i) {
    expect_same_answers(generate(pool_, {all[i]}, roomy).at(0), together[i]);
  }
}

TEST_P(InvarianceTest, WaitingSmallStepsAndThreads) {
  const auto all = requests();
  const auto expected = generate(pool_, all, {.kv_cache_tokens = 2048});
  ThreadPool three(3);
  // Two at a time in a cache that holds little more, prompts in pieces of at most 17 tokens.
  const auto found =
      generate(three, all, {.max_num_seqs = 2, .max_tokens_per_step = 17, .kv_cache_tokens = 320});
  for (size_t i = 0; i < all.size(); ++i) expect_same_answers(found[i], expected[i]);
}

// A cache that cannot hold all answers: some are put back and computed again, prompt expanded, answer absorbed.
TEST_P(InvarianceTest, Preemption) {
  auto all = requests();
  for (engine::Request& request : all) {
    request.prompt.assign(tokens_.begin(), tokens_.begin() + 60);
    request.prompt[0] = static_cast<int32_t>(&request - all.data());
    request.max_tokens = std::min<int64_t>(30, model_.config.max_position_embeddings - 60);
  }
  const auto expected = generate(pool_, all, {.kv_cache_tokens = 2048});
  engine::EngineStats stats;
  const auto found = generate(pool_, all, {.kv_cache_tokens = 448}, &stats);
  for (size_t i = 0; i < all.size(); ++i) expect_same_answers(found[i], expected[i]);
  EXPECT_GT(stats.preemptions, 0);
}

TEST_P(InvarianceTest, PrefixesFromTheCache) {
  auto all = requests();  // the longer prompts begin with the shorter ones
  const auto expected = generate(pool_, all, {.kv_cache_tokens = 2048, .prefix_caching = false});
  engine::EngineStats stats;
  const auto one_by_one = generate(pool_, all, {.max_num_seqs = 1, .kv_cache_tokens = 2048}, &stats);
  for (size_t i = 0; i < all.size(); ++i) expect_same_answers(one_by_one[i], expected[i]);
  EXPECT_EQ(stats.prefix_hit_tokens, 64)
      << "70 tokens are in the cache when 130 come; of 64 the last has to be computed";
}

// Computed by one engine, read from the disk by another.
TEST_P(InvarianceTest, PrefixesFromTheDisk) {
  const std::string folder = testing::TempDir() + "prefixes_" + std::to_string(getpid());
  const auto all = requests();
  const auto expected = generate(pool_, all, {.kv_cache_tokens = 2048, .prefix_caching = false});
  for (const int64_t hits : {64, 64 + 128}) {  // of the first engine: 130 tokens wait for the first 64 of 70
    engine::EngineStats stats;
    const auto found = generate(pool_, all, {.kv_cache_tokens = 2048, .kv_cache_folder = folder}, &stats);
    for (size_t i = 0; i < all.size(); ++i) expect_same_answers(found[i], expected[i]);
    EXPECT_EQ(stats.prefix_hit_tokens, hits);
  }
  std::filesystem::remove_all(folder);
}

TEST_P(InvarianceTest, Speculation) {
  auto all = requests();
  for (engine::Request& request : all) {
    request.max_tokens = 40;
    for (size_t i = 0; i < request.prompt.size(); ++i)
      request.prompt[i] = tokens_[i % 9];  // something to look up
    if (&request != all.data()) request.sampling.temperature = 0.0F;
  }
  const auto expected = generate(pool_, all, {.kv_cache_tokens = 2048});
  std::vector<engine::Speculation> kinds{engine::Speculation::kNgram};
  if (model_.config.num_nextn_predict_layers > 0) kinds.push_back(engine::Speculation::kMtp);
  for (const engine::Speculation kind : kinds) {
    engine::EngineStats stats;
    const auto found = generate(pool_, all, {.kv_cache_tokens = 2048, .speculation = kind}, &stats);
    for (size_t i = 0; i < all.size(); ++i) expect_same_answers(found[i], expected[i]);
    EXPECT_GT(stats.drafted_tokens, 0);
  }
}

TEST_P(InvarianceTest, ScoresOfAPromptAreItsLogits) {
  engine::Request request = requests()[3];
  request.num_prompt_logprobs = 1;
  request.max_tokens = 0;
  const auto forced = engine::run_tokens(model_, pool_, GetParam().precision, request.prompt, {});
  engine::Engine engine(model_, pool_, GetParam().precision,
                        {.max_tokens_per_step = 50, .kv_cache_tokens = 2048});
  engine.submit(request);
  std::vector<engine::Sampled> found;
  while (engine.step([&](const engine::Event& event) {
    if (const auto* prompt = std::get_if<engine::PromptEvent>(&event)) {
      EXPECT_EQ(prompt->first, std::ssize(found) + 1);
      found.insert(found.end(), prompt->tokens.begin(), prompt->tokens.end());
    }
  })) {
  }
  ASSERT_EQ(found.size() + 1, request.prompt.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].token, request.prompt[i + 1]);
    EXPECT_EQ(found[i].logprob, static_cast<float>(forced.logprobs[i]));
    ASSERT_EQ(found[i].top.size(), 1U);
    EXPECT_GE(found[i].top[0].logprob, found[i].logprob);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, InvarianceTest,
    testing::Values(Case{"models/tiny-chat", {}, "TinyChatBf16"},
                    Case{"models/tiny-chat", {.f32 = true}, "TinyChatF32"},
                    Case{"models/tiny-chat", {.cache = Format::kF8E4M3}, "TinyChatF8Cache"},
                    Case{"tests/golden/v2lite", {}, "V2LiteBf16"},
                    Case{"tests/golden/v3_fp8", {}, "V3Fp8Bf16"},
                    Case{"tests/golden/v3_fp8", {.cache = Format::kF8E4M3}, "V3Fp8F8Cache"},
                    Case{"tests/golden/v3_fp8", {.f32 = true, .f8_activations = true}, "V3W8A8"}),
    [](const testing::TestParamInfo<Case>& model) { return model.param.name; });

}  // namespace
}  // namespace hadal::tests
