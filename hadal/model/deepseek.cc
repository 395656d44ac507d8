#include "hadal/model/deepseek.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "hadal/core/phase_timer.h"
#include "hadal/model/decoder.h"
#include "hadal/ops/linear.h"
#include "hadal/ops/norm.h"

namespace hadal::model {
namespace {

void check_tokens(const ops::Batch& batch, int64_t vocab_size) {
  for (const int32_t id : batch.tokens) {
    if (id >= 0 && id < vocab_size) continue;
    fail(ErrorKind::kRequest, "token id\n  expected  0 to {} (vocab_size {})\n  found     {}", vocab_size - 1,
         vocab_size, id);
  }
}

// The weights were finite at load; so this is an overflow, and the layer where it began is what one wants to know.
void check_activations(ops::Context& ctx, Mat<const float> x, int64_t layer) {
  std::atomic<bool> finite{true};
  parallel_for(ctx.pool, x.shape[0], 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float sum = 0.0F;  // 0 * x is 0 for a number and NaN for NaN and infinity, and NaN stays
      for (int64_t i = 0; i < x.shape[1]; ++i) sum += 0.0F * x[t].data[i];
      if (std::isnan(sum)) finite = false;
    }
  });
  if (finite) return;
  fail(ErrorKind::kInternal,
       "forward pass\n  layer     {}\n  expected  finite activations\n  found     NaN or infinity\n"
       "  hint      `hadal verify` checks the checkpoint's numbers",
       layer);
}

}  // namespace

void forward(ops::Context& ctx, const Model& model, const ops::Batch& batch,
             std::span<const ops::LayerCache> caches, int64_t first_layer, int64_t last_layer, Mat<float> x,
             Acts* acts) {
  const ModelConfig& c = model.config;
  const auto frame = ctx.scratch.frame();
  const auto angles =
      ops::rotary_angles(ctx, batch.positions, model.inv_freq, static_cast<float>(model.rotary_magnitude));
  if (first_layer == 0) {
    check_tokens(batch, c.vocab_size);
    ops::embed(ctx, batch.tokens, model.weights.embed_tokens, x);
    if (acts) copy(x, (acts->embedded = Tensor<float, 2>(x.shape)).view());
  }
  for (int64_t l = first_layer; l < last_layer; ++l) {
    const auto i = static_cast<size_t>(l);
    decoder_layer(ctx, model.weights.layers[i], c, l, batch, angles, caches[i], x, acts);
    check_activations(ctx, x, l);
    if (acts) copy(x, (acts->hidden[l] = Tensor<float, 2>(x.shape)).view());
  }
  if (last_layer == c.num_hidden_layers) ops::rmsnorm(ctx, x, model.weights.norm.view(), c.rms_norm_eps, x);
}

void head(ops::Context& ctx, const Model& model, const ops::Batch& batch, Mat<const float> x,
          Mat<float> logits) {
  const PhaseScope timed(Phase::kHead);
  ops::linear_rows(ctx, x, batch.logit_rows, model.weights.lm_head, logits);
}

}  // namespace hadal::model
