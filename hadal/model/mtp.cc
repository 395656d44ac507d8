#include "hadal/model/mtp.h"

#include "hadal/model/decoder.h"
#include "hadal/ops/linear.h"
#include "hadal/ops/norm.h"

namespace hadal::model {

void mtp_forward(ops::Context& ctx, const Model& model, int64_t index, const ops::Batch& batch,
                 ops::LayerCache cache, Mat<const float> hidden, Mat<float> state, Mat<float> logits,
                 Acts* acts) {
  const ModelConfig& c = model.config;
  const MtpWeights& w = model.weights.mtp[static_cast<size_t>(index)];
  const int64_t T = batch.num_tokens(), layer = c.num_hidden_layers + index;
  const auto frame = ctx.scratch.frame();
  const auto angles =
      ops::rotary_angles(ctx, batch.positions, model.inv_freq, static_cast<float>(model.rotary_magnitude));

  // Embedding first, as the released weights have it; the paper's eq. 21 writes the hidden state first.
  const auto pair = ctx.scratch.mat<float>(T, 2 * c.hidden_size);
  const auto embedded = pair.slice_last(0, c.hidden_size),
             from_main = pair.slice_last(c.hidden_size, c.hidden_size);
  ops::embed(ctx, batch.tokens, w.embed_tokens, embedded);
  ops::rmsnorm(ctx, embedded, w.enorm.view(), c.rms_norm_eps, embedded);
  ops::rmsnorm(ctx, hidden, w.hnorm.view(), c.rms_norm_eps, from_main);
  ops::linear(ctx, pair, w.eh_proj, state);                                  // V3 eq. 21
  decoder_layer(ctx, w.layer, c, layer, batch, angles, cache, state, acts);  // V3 eq. 22
  ops::rmsnorm(ctx, state, w.shared_head_norm.view(), c.rms_norm_eps, state);
  ops::linear_rows(ctx, state, batch.logit_rows, w.shared_head, logits);  // V3 eq. 23
}

}  // namespace hadal::model
