#include "hadal/engine/ranking.h"

#include <algorithm>
#include <bit>

namespace hadal::engine {
namespace {

// Floats of one sign are ordered as their bits are. The upper bits say the bucket: 64 for each power of two.
constexpr uint32_t kOne = 0x3f800000, kShift = 17;
constexpr size_t kBuckets = (kOne >> kShift) + 1;

size_t bucket_of(float weight) {
  const auto bits = std::bit_cast<uint32_t>(weight);
  return bits >= kOne ? 0 : (kOne - bits) >> kShift;  // 0: 1 and what is no number
}

}  // namespace

Ranking::Ranking(std::span<const float> weights)
    : weights_(weights), buckets_(kBuckets), last_(kBuckets - 1) {
  for (const float weight : weights) {
    Bucket& bucket = buckets_[bucket_of(weight)];
    ++bucket.count;
    bucket.mass += double{weight};
  }
  for (const Bucket& bucket : buckets_) total_ += bucket.mass;
}

std::vector<Ranking::Token> Ranking::sorted(size_t bucket) const {
  if (cut_ && bucket == last_) return rest_;
  std::vector<Token> tokens;
  tokens.reserve(static_cast<size_t>(buckets_[bucket].count));
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (bucket_of(weights_[i]) == bucket) tokens.push_back({static_cast<int32_t>(i), weights_[i]});
  }
  std::ranges::sort(tokens, [](const Token& a, const Token& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  });
  return tokens;
}

void Ranking::cut(size_t bucket, std::vector<Token> kept) {
  last_ = bucket;
  cut_ = true;
  rest_ = std::move(kept);
  buckets_[bucket] = {.count = static_cast<int64_t>(rest_.size())};
  for (const Token& token : rest_) buckets_[bucket].mass += double{token.weight};
  total_ = 0.0;
  for (size_t b = 0; b <= last_; ++b) total_ += buckets_[b].mass;
}

void Ranking::keep_first(size_t count) {
  auto left = static_cast<int64_t>(count);
  for (size_t b = 0; b <= last_; left -= buckets_[b++].count) {
    if (left > buckets_[b].count) continue;
    std::vector<Token> tokens = sorted(b);
    tokens.resize(static_cast<size_t>(left));
    return cut(b, std::move(tokens));
  }
}

void Ranking::keep_share(double share) {
  const double wanted = share * total_;
  double held = 0.0;
  for (size_t b = 0; b <= last_; held += buckets_[b++].mass) {
    if (held + buckets_[b].mass < wanted) continue;
    std::vector<Token> tokens = sorted(b);
    size_t kept = 0;
    for (; kept < tokens.size() && (kept == 0 || held < wanted); ++kept) held += double{tokens[kept].weight};
    tokens.resize(kept);
    return cut(b, std::move(tokens));
  }
}

void Ranking::keep_from(float weight) {
  const size_t b = bucket_of(weight);
  if (b > last_) return;
  std::vector<Token> tokens = sorted(b);
  std::erase_if(tokens, [&](const Token& token) { return token.weight < weight; });
  cut(b, std::move(tokens));
}

int32_t Ranking::token_at(double mass) const {
  double sum = 0.0;
  for (size_t b = 0; b <= last_; sum += buckets_[b++].mass) {
    if (!(sum + buckets_[b].mass > mass)) continue;
    double within = sum;
    int32_t id = -1;
    for (const Token& token : sorted(b)) {
      id = token.id;
      within += double{token.weight};
      if (within > mass) break;
    }
    return id;  // the bucket's last where its sum, in another order, was a rounding larger
  }
  return -1;
}

}  // namespace hadal::engine
