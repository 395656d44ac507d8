#include "hadal/model/mla.h"

#include "hadal/core/phase_timer.h"
#include "hadal/ops/attention.h"
#include "hadal/ops/linear.h"
#include "hadal/ops/norm.h"

namespace hadal::model {
namespace {

// The official code builds these two norms with its default eps and does not pass rms_norm_eps on.
constexpr double kLatentNormEps = 1e-6;

// (1) q: [T, H, N + P], q^C | q^R, the latter rotated.                                            V3 eqs. 6-9
void project_query(ops::Context& ctx, const MlaWeights& w, const ModelConfig& c,
                   const ops::RotaryAngles& angles, int64_t first_row, Mat<const float> x, Cube<float> q) {
  const PhaseScope timed(Phase::kDense);
  const auto frame = ctx.scratch.frame();
  if (c.q_lora_rank) {
    const auto q_latent = ctx.scratch.mat<float>(x.shape[0], *c.q_lora_rank);
    ops::linear(ctx, x, w.q_a_proj, q_latent);
    ops::rmsnorm(ctx, q_latent, w.q_a_layernorm.view(), kLatentNormEps, q_latent);
    ops::linear(ctx, q_latent, w.q_b_proj, flatten_heads(q));
  } else {
    ops::linear(ctx, x, w.q_proj, flatten_heads(q));
  }
  ops::rope(ctx, angles, first_row, q.slice_last(c.qk_nope_head_dim, c.qk_rope_head_dim));
}

// (2) The latent and the shared rotary key of each token, into the cache: all that is kept of it.  V3 eqs. 1, 3
void append_latents(ops::Context& ctx, const MlaWeights& w, const ModelConfig& c, const ops::Batch& batch,
                    const ops::RotaryAngles& angles, int64_t first_row, Mat<const float> x,
                    ops::LayerCache cache) {
  const PhaseScope timed(Phase::kDense);
  const auto frame = ctx.scratch.frame();
  const auto kv = ctx.scratch.mat<float>(x.shape[0], c.latent_width());  // [T, R + P]  c^KV | k^R
  ops::linear(ctx, x, w.kv_a_proj_with_mqa, kv);
  const auto latent = kv.slice_last(0, c.kv_lora_rank),
             k_rope = kv.slice_last(c.kv_lora_rank, c.qk_rope_head_dim);
  ops::rmsnorm(ctx, latent, w.kv_a_layernorm.view(), kLatentNormEps, latent);
  ops::rope(ctx, angles, first_row, split_heads(k_rope, 1));
  ops::append(ctx, cache,
              batch.slots.subspan(static_cast<size_t>(first_row), static_cast<size_t>(x.shape[0])), kv);
}

// (4) The heads' outputs, side by side, back to hidden_size.                                       V3 eq. 11
void project_output(ops::Context& ctx, const MlaWeights& w, Cube<float> o, Mat<float> y) {
  const PhaseScope timed(Phase::kDense);
  ops::linear(ctx, flatten_heads(o), w.o_proj, y);
}

}  // namespace

void mla_forward(ops::Context& ctx, const MlaWeights& w, const ModelConfig& c, const ops::Batch& batch,
                 const ops::RotaryAngles& angles, Mat<const float> x, ops::LayerCache cache, Mat<float> y) {
  const int64_t first = batch.num_decode_tokens(), T = batch.num_tokens() - first;
  if (T == 0) return;
  const PhaseScope timed(Phase::kAttention);
  const int64_t H = c.num_attention_heads, V = c.v_head_dim;
  const auto frame = ctx.scratch.frame();
  const auto q = ctx.scratch.cube<float>(T, H, c.qk_head_dim());
  const auto o = ctx.scratch.cube<float>(T, H, V);
  const auto rows = x.rows(first, T);

  project_query(ctx, w, c, angles, first, rows, q);
  append_latents(ctx, w, c, batch, angles, first, rows, cache);
  // (3) k^C | v from the latents, softmax over q . k, sum of v                                   V3 eqs. 2, 5, 10
  ops::attend_expanded(ctx, q, cache, w.kv_b_proj, batch, c.softmax_scale(), o);
  project_output(ctx, w, o, y.rows(first, T));
}

void mla_decode(ops::Context& ctx, const MlaWeights& w, const ModelConfig& c, const ops::Batch& batch,
                const ops::RotaryAngles& angles, Mat<const float> x, ops::LayerCache cache, Mat<float> y) {
  const int64_t T = batch.num_decode_tokens();
  if (T == 0) return;
  const PhaseScope timed(Phase::kAttention);
  const int64_t H = c.num_attention_heads, R = c.kv_lora_rank;
  const int64_t N = c.qk_nope_head_dim, P = c.qk_rope_head_dim, V = c.v_head_dim;
  const auto frame = ctx.scratch.frame();
  const auto q = ctx.scratch.cube<float>(T, H, N + P);
  const auto q_latent = ctx.scratch.cube<float>(T, H, R + P);  // q^C W^UK | q^R
  const auto o_latent = ctx.scratch.cube<float>(T, H, R), o = ctx.scratch.cube<float>(T, H, V);
  const auto rows = x.rows(0, T);

  project_query(ctx, w, c, angles, 0, rows, q);
  append_latents(ctx, w, c, batch, angles, 0, rows, cache);
  // (3a) rows of kv_b_proj per head: N of W^UK, then V of W^UV
  ops::head_linear_transposed(ctx, q.slice_last(0, N), w.kv_b_proj, N + V, q_latent.slice_last(0, R));
  copy(q.slice_last(N, P), q_latent.slice_last(R, P));
  ops::attend_latent(ctx, q_latent, cache, batch, c.softmax_scale(), o_latent);  // (3b)          V3 eq. 10
  ops::head_linear(ctx, o_latent, w.kv_b_proj, N + V, N, o);                     // (3c)  W^UV, per head
  project_output(ctx, w, o, y.rows(0, T));
}

}  // namespace hadal::model
