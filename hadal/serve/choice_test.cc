#include "hadal/serve/choice.h"

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hadal/serve/api_error.h"

namespace hadal::serve {
namespace {

class ChoiceTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ServeOptions options;
    options.served_names = {"tiny-chat"};
    service_ = new Service(options, "models/tiny-chat", "0");
  }
  static void TearDownTestSuite() { delete service_; }

  void SetUp() override { options_.request.stop_token_ids = service_->stop_token_ids; }

  void say(Choice& choice, const std::string& text) {
    for (const int32_t id : service_->tokenizer.encode(text))
      choice.take(engine::TokenEvent{1, {.token = id, .logprob = -0.5F, .top = {}}});
  }
  static void end(Choice& choice, engine::FinishReason reason) {
    choice.take(engine::FinishedEvent{1, reason});
  }

  static Service* service_;
  GenerationOptions options_;
};

Service* ChoiceTest::service_ = nullptr;

TEST_F(ChoiceTest, TellsTheTextAsItComes) {
  Choice choice(*service_, options_);
  say(choice, "Once upon");
  EXPECT_EQ(choice.take_text(), "Once upon");
  EXPECT_EQ(choice.take_text(), "");
  EXPECT_FALSE(choice.is_finished());
  say(choice, " a time");
  end(choice, engine::FinishReason::kLength);
  EXPECT_EQ(choice.take_text(), " a time");
  EXPECT_EQ(choice.finish_reason(), "length");
  EXPECT_EQ(choice.stop_reason(), json());
  EXPECT_EQ(choice.num_tokens(), std::ssize(choice.take_tokens()));
}

TEST_F(ChoiceTest, AStopStringEndsItAndIsNoPartOfIt) {
  for (const bool include : {false, true}) {
    options_.stop = {" dog"};
    options_.include_stop = include;
    Choice choice(*service_, options_);
    say(choice, "the big dog ran");
    EXPECT_TRUE(choice.is_stopped() && choice.is_finished());
    EXPECT_EQ(choice.take_text(), include ? "the big dog" : "the big");
    EXPECT_EQ(choice.finish_reason(), "stop");
    EXPECT_EQ(choice.stop_reason(), " dog");
    end(choice, engine::FinishReason::kCancelled);  // ours
    EXPECT_EQ(choice.take_text(), "");
  }
}

TEST_F(ChoiceTest, AStopTokenIsCountedAndNotShown) {
  options_.request.stop_token_ids.push_back(500);
  for (const int32_t id : {500, service_->stop_token_ids.front()}) {
    Choice choice(*service_, options_);
    say(choice, "Hi");
    const int64_t before = choice.num_tokens();
    choice.take(engine::TokenEvent{1, {.token = id, .logprob = -0.5F, .top = {}}});
    end(choice, engine::FinishReason::kStop);
    EXPECT_EQ(choice.take_text(), "Hi");
    EXPECT_EQ(choice.num_tokens(), before + 1);
    EXPECT_EQ(choice.stop_reason(), id == 500 ? json(500) : json());
  }
}

// The engine cancels without our asking only when the server ends; that is no whole answer.
TEST_F(ChoiceTest, AnAnswerThatIsCutOffIsAnError) {
  Choice choice(*service_, options_);
  say(choice, "Once");
  try {
    end(choice, engine::FinishReason::kCancelled);
    FAIL();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status(), 503);
  }
}

TEST_F(ChoiceTest, AFailureIsAnError) {
  Choice choice(*service_, options_);
  EXPECT_THROW(choice.take(engine::FailedEvent{1, ErrorKind::kInternal, "no"}), ApiError);
}

TEST(Logprobs, AreFinite) {
  EXPECT_EQ(finite_logprob(-std::numeric_limits<float>::infinity()), -9999.0);
  EXPECT_EQ(finite_logprob(-0.25F), -0.25);
}

TEST(Usage, HitsAndMissesArePrompt) {
  const json usage = usage_json(10, 4, 3, 2);
  EXPECT_EQ(usage["total_tokens"], 14);
  EXPECT_EQ(usage["prompt_cache_hit_tokens"], 3);
  EXPECT_EQ(usage["prompt_cache_miss_tokens"], 7);
  EXPECT_EQ(usage["prompt_tokens_details"]["cached_tokens"], 3);
  EXPECT_EQ(usage["completion_tokens_details"]["reasoning_tokens"], 2);
}

}  // namespace
}  // namespace hadal::serve
