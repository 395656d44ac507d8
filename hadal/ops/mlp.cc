#include "hadal/ops/mlp.h"

#include <algorithm>

#include "hadal/kernels/kernel_table.h"
#include "hadal/ops/packed.h"

namespace hadal::ops {
namespace {

// Output features in one piece of work: it reads 32 to 64 KB of a quantised expert, some microseconds of bandwidth.
constexpr int64_t kStripRows = 32;

// A task with the memory it needs on its way.
struct Running {
  const MlpTask* task = nullptr;
  Packed in, hidden_packed;
  Mat<float> hidden, up;
  int64_t first_panel = 0, first_strip = 0, first_out_strip = 0;  // where the task's pieces begin among all
};

int64_t strips_of(int64_t rows) {
  return (rows + kStripRows - 1) / kStripRows;
}

void check_task(const MlpTask& task, Mat<const float> x) {
  const Weight &gate = *task.gate, &up = *task.up, &down = *task.down;
  HADAL_CHECK(gate.in_features == x.shape[1] && up.in_features == x.shape[1] &&
                  up.out_features == gate.out_features && down.in_features == gate.out_features &&
                  down.out_features == task.y.shape[1] &&
                  task.y.shape[0] == static_cast<int64_t>(task.rows.size()) && up.format == gate.format &&
                  up.block_cols == gate.block_cols,
              "grouped_mlp: x {} through {} and {} into {}", to_string(x.shape), gate.name, down.name,
              to_string(task.y.shape));
}

// Calls body(task, piece of that task) for pieces [begin, end) of all; `first` says where each task's pieces begin.
template <class Body>
void for_pieces(Vec<Running> running, int64_t Running::*first, int64_t begin, int64_t end, const Body& body) {
  int64_t r = 0;
  for (int64_t piece = begin; piece < end; ++piece) {
    while (r + 1 < running.shape[0] && running[r + 1].*first <= piece) ++r;
    body(running[r], piece - running[r].*first);
  }
}

struct Totals {
  int64_t panels = 0, strips = 0, out_strips = 0;
};

Totals prepare(Context& ctx, Mat<const float> x, std::span<const MlpTask> tasks, Vec<Running> running) {
  Totals totals;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const MlpTask& task = tasks[i];
    check_task(task, x);
    const auto m = static_cast<int64_t>(task.rows.size());
    const int64_t width = task.gate->out_features;
    Running& r = running[static_cast<int64_t>(i)];
    r.task = &task;
    r.in = Packed(ctx, m, *task.gate, packing_for(ctx.precision, *task.gate));
    r.hidden_packed = Packed(ctx, m, *task.down, packing_for(ctx.precision, *task.down));
    r.hidden = ctx.scratch.mat<float>(m, width);
    r.up = ctx.scratch.mat<float>(m, width);
    r.first_panel = totals.panels;
    r.first_strip = totals.strips;
    r.first_out_strip = totals.out_strips;
    totals.panels += r.in.num_panels();
    totals.strips += strips_of(width);
    totals.out_strips += strips_of(task.down->out_features);
  }
  return totals;
}

void gate_and_up(const Running& r, int64_t strip) {
  const int64_t begin = strip * kStripRows, end = std::min(begin + kStripRows, r.task->gate->out_features);
  r.in.multiply(*r.task->gate, begin, end, r.hidden);
  r.in.multiply(*r.task->up, begin, end, r.up);
  for (int64_t i = 0; i < r.in.num_rows(); ++i) {
    float* hidden = r.hidden[i].data + begin;
    kernels::kernels().swiglu(hidden, r.up[i].data + begin, hidden, end - begin);
  }
}

}  // namespace

void grouped_mlp(Context& ctx, Mat<const float> x, std::span<const MlpTask> tasks) {
  if (tasks.empty()) return;
  const auto frame = ctx.scratch.frame();
  const auto running = ctx.scratch.vec<Running>(static_cast<int64_t>(tasks.size()));
  const Totals totals = prepare(ctx, x, tasks, running);
  parallel_for(ctx.pool, totals.panels, 1, [&](int64_t begin, int64_t end) {
    for_pieces(running, &Running::first_panel, begin, end, [&](const Running& r, int64_t panel) {
      r.in.pack_panel(ctx, x, r.task->rows.data(), *r.task->gate, panel);
    });
  });
  parallel_for(ctx.pool, totals.strips, 1, [&](int64_t begin, int64_t end) {
    for_pieces(running, &Running::first_strip, begin, end, gate_and_up);
  });
  parallel_for(ctx.pool, totals.panels, 1, [&](int64_t begin, int64_t end) {
    for_pieces(running, &Running::first_panel, begin, end, [&](const Running& r, int64_t panel) {
      r.hidden_packed.pack_panel(ctx, r.hidden, nullptr, *r.task->down, panel);
    });
  });
  parallel_for(ctx.pool, totals.out_strips, 1, [&](int64_t begin, int64_t end) {
    for_pieces(running, &Running::first_out_strip, begin, end, [&](const Running& r, int64_t strip) {
      const Weight& down = *r.task->down;
      const int64_t first = strip * kStripRows;
      r.hidden_packed.multiply(down, first, std::min(first + kStripRows, down.out_features), r.task->y);
    });
  });
}

}  // namespace hadal::ops
