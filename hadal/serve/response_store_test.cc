#include "hadal/serve/response_store.h"

#include <gtest/gtest.h>

namespace hadal::serve {
namespace {

ResponseStore::Entry entry(const std::string& id, size_t size = 0) {
  return {"a", id, "{}", std::string(size, 'x')};
}

TEST(ResponseStore, GivesBackWhatItsOwnerPut) {
  ResponseStore store;
  store.put(entry("r1", 3));
  const auto found = store.get("a", "r1");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->response, "{}");
  EXPECT_EQ(found->items, "xxx");
  EXPECT_FALSE(store.get("b", "r1"));
  EXPECT_FALSE(store.get("a", "r2"));
  EXPECT_FALSE(store.erase("b", "r1"));
  EXPECT_TRUE(store.erase("a", "r1"));
  EXPECT_FALSE(store.get("a", "r1"));
}

TEST(ResponseStore, ForgetsTheOneNotAskedForTheLongest) {
  ResponseStore store(1000);
  store.put(entry("r1", 300));
  store.put(entry("r2", 300));
  EXPECT_TRUE(store.get("a", "r1"));
  store.put(entry("r3", 500));
  EXPECT_TRUE(store.get("a", "r1"));
  EXPECT_FALSE(store.get("a", "r2"));
  EXPECT_TRUE(store.get("a", "r3"));
}

TEST(ResponseStore, TakesNothingThatIsTooLarge) {
  ResponseStore store(1000);
  store.put(entry("r1", 300));
  store.put(entry("r2", 1000));
  EXPECT_TRUE(store.get("a", "r1"));
  EXPECT_FALSE(store.get("a", "r2"));
}

TEST(ResponseStore, ReplacesWhatHasTheSameId) {
  ResponseStore store(1000);
  for (int i = 0; i < 10; ++i) store.put(entry("r1", 400));
  store.put(entry("r2", 400));
  EXPECT_TRUE(store.get("a", "r1"));
}

}  // namespace
}  // namespace hadal::serve
