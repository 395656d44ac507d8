#include "hadal/model/decoder.h"

#include "hadal/model/mla.h"
#include "hadal/model/moe.h"
#include "hadal/ops/activation.h"
#include "hadal/ops/norm.h"

namespace hadal::model {
namespace {

Routes make_routes(ops::Context& ctx, const ModelConfig& c, int64_t layer, int64_t tokens, Acts* acts) {
  const int64_t slots = c.num_experts_per_tok;
  if (acts == nullptr)
    return {ctx.scratch.mat<int32_t>(tokens, slots), ctx.scratch.mat<float>(tokens, slots)};
  auto& ids = acts->expert_ids[layer] = Tensor<int32_t, 2>({tokens, slots});
  auto& weights = acts->expert_weights[layer] = Tensor<float, 2>({tokens, slots});
  return {ids.view(), weights.view()};
}

}  // namespace

void decoder_layer(ops::Context& ctx, const LayerWeights& w, const ModelConfig& c, int64_t layer,
                   const ops::Batch& batch, const ops::RotaryAngles& angles, ops::LayerCache cache,
                   Mat<float> x, Acts* acts) {
  const auto frame = ctx.scratch.frame();
  const auto normed = ctx.scratch.mat<float>(x.shape[0], c.hidden_size);
  const auto y = ctx.scratch.mat<float>(x.shape[0], c.hidden_size);

  ops::rmsnorm(ctx, x, w.input_layernorm.view(), c.rms_norm_eps, normed);
  mla_decode(ctx, w.self_attn, c, batch, angles, normed, cache,
             y);  // the batch's first num_decode_tokens() rows
  mla_forward(ctx, w.self_attn, c, batch, angles, normed, cache, y);  // the others
  ops::add(ctx, y, x);

  ops::rmsnorm(ctx, x, w.post_attention_layernorm.view(), c.rms_norm_eps, normed);
  if (w.moe.gate.empty()) {
    mlp_forward(ctx, w.mlp, normed, y);
  } else {
    const Routes routes = make_routes(ctx, c, layer, x.shape[0], acts);
    moe_forward(ctx, w.moe, c, normed, routes, y);
    if (ctx.experts) ctx.experts->add(layer, routes.ids);
  }
  ops::add(ctx, y, x);
}

}  // namespace hadal::model
