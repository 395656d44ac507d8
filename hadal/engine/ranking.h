#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hadal::engine {

/// The tokens of a vocabulary by weight, largest first, the lower id first among equals: as far as a draw has to know.
/// Tokens are counted into buckets of nearly equal weight and only buckets that something happens in are looked at one by
/// one, so that neither a large nor a flat distribution is ever sorted as a whole.
class Ranking {
 public:
  /// weights: exp(logit - largest logit), so from 0 to 1. They must outlive the ranking.
  explicit Ranking(std::span<const float> weights);

  /// Each drops the end of what is left: all but the first `count` tokens (at least 1); all but the fewest that hold this
  /// share of the weight; all below this weight.
  void keep_first(size_t count);
  void keep_share(double share);
  void keep_from(float weight);

  /// Of what is left, summed bucket by bucket.
  double total() const { return total_; }

  /// The first token up to which, itself included, more than `mass` of the weight lies; -1 if all weigh no more.
  int32_t token_at(double mass) const;

 private:
  struct Token {
    int32_t id;
    float weight;
  };
  struct Bucket {
    int64_t count = 0;
    double mass = 0.0;
  };

  std::vector<Token> sorted(size_t bucket) const;
  void cut(size_t bucket, std::vector<Token> kept);

  std::span<const float> weights_;
  std::vector<Bucket> buckets_;
  size_t last_;              // the last bucket with something left
  std::vector<Token> rest_;  // what is left of it, if it was cut
  bool cut_ = false;
  double total_ = 0.0;
};

}  // namespace hadal::engine
