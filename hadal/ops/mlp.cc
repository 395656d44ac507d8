#include "hadal/ops/mlp.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <vector>

#include "hadal/kernels/kernel_table.h"
#include "hadal/ops/packed.h"

namespace hadal::ops {
namespace {

// A task with the memory it needs on its way.
struct Running {
  const MlpTask* task = nullptr;
  Packed in, hidden_packed;
  Mat<float> hidden;
  int64_t strip = 32, out_strip = 32;  // output features of gate and up, and of down, in a piece

  int64_t panels() const { return in.num_panels(); }
  int64_t strips() const { return (task->gate->out_features + strip - 1) / strip; }
  int64_t out_strips() const { return (task->down->out_features + out_strip - 1) / out_strip; }
};

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

// A row of pieces of one task: piece `first` of all is piece `first_of_task` of the task, and so on.
struct Span {
  const Running* running = nullptr;
  int64_t first = 0, first_of_task = 0;
};

// Calls body(task, piece of that task) for all pieces of all tasks, `at_once` of them at a time; `count` says how many a task has.
// They are in the order of the pool's groups, and in that of the tasks within: so each group begins with its part of every
// weight.
template <class Body>
void for_all_pieces(Context& ctx, Vec<Running> running, int64_t (Running::*count)() const, int64_t at_once,
                    const Body& body) {
  const auto frame = ctx.scratch.frame();
  const auto spans = ctx.scratch.vec<Span>(running.shape[0] * ctx.pool.num_groups());
  int64_t total = 0, last = -1;
  for (int g = 0; g < ctx.pool.num_groups(); ++g) {
    for (int64_t r = 0; r < running.shape[0]; ++r) {
      const int64_t pieces = (running[r].*count)();
      const int64_t begin = ctx.pool.first_of(g, pieces, 1), end = ctx.pool.first_of(g + 1, pieces, 1);
      spans[++last] = {&running[r], total, begin};
      total += end - begin;
    }
  }
  parallel_for(ctx.pool, total, at_once, [&](int64_t begin, int64_t end) {
    int64_t s = 0;
    for (int64_t piece = begin; piece < end; ++piece) {
      while (s < last && spans[s + 1].first <= piece) ++s;
      body(*spans[s].running, spans[s].first_of_task + piece - spans[s].first);
    }
  });
}

struct Totals {
  int64_t panels = 0, strips = 0, out_strips = 0;
  int64_t rows = 0, bytes = 0,
          out_bytes = 0;  // of activations; of weights, as often as a row of activations meets them

  // Pieces that are worth a thread's while.
  int64_t strips_at_once() const { return kBytesInPiece / (bytes / strips + 1) + 1; }
  int64_t out_strips_at_once() const { return kBytesInPiece / (out_bytes / out_strips + 1) + 1; }
};

Totals prepare(Context& ctx, Mat<const float> x, std::span<const MlpTask> tasks, bool by_pieces,
               Vec<Running> running) {
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
    if (by_pieces) r.hidden = ctx.scratch.mat<float>(m, width);
    // Of several tasks each gives all threads something to do, so their pieces may be long.
    const int sharing = std::max(1, ctx.pool.num_threads() / static_cast<int>(tasks.size()));
    r.strip = by_pieces ? rows_in_piece(*task.gate, 2 * m, sharing) : width;
    r.out_strip = by_pieces ? rows_in_piece(*task.down, m, sharing) : task.down->out_features;
    totals.panels += r.panels();
    totals.strips += r.strips();
    totals.out_strips += r.out_strips();
    totals.rows += m;
    totals.bytes += 2 * m * task.gate->bytes();
    totals.out_bytes += m * task.down->bytes();
  }
  return totals;
}

// A part of both products that is small enough to stay in a thread's cache until it is one: of up to 272 rows, so that the
// last ones are never 16 or fewer.
struct GateAndUp {
  static constexpr int64_t kRows = 256, kNumbers = (kRows + kernels::kPanelRows) * (128 + 16);
  alignas(64) float gate[kNumbers], up[kNumbers];

  static int64_t rows_at(int64_t first, int64_t rows) {
    return rows - first <= kRows + kernels::kPanelRows ? rows - first : kRows;
  }
  // Rows are 16 numbers apart, so that they do not fall on the same lines of the cache.
  static int64_t columns_of(int64_t rows) { return (kNumbers / rows - 16) / 32 * 32; }

  // hidden[first : first + rows, begin : end)
  void compute(const Running& r, int64_t first, int64_t rows, int64_t begin, int64_t end) {
    const std::array<int64_t, 2> shape = {rows, end - begin}, stride = {end - begin + 16, 1};
    const Mat<float> g{gate, shape, stride}, u{up, shape, stride};
    r.in.multiply_rows(*r.task->gate, first, begin, end, g);
    r.in.multiply_rows(*r.task->up, first, begin, end, u);
    for (int64_t i = 0; i < rows; ++i)
      kernels::kernels().swiglu(g[i].data, u[i].data, r.hidden[first + i].data + begin, end - begin);
  }
};

void gate_and_up(const Running& r, int64_t strip) {
  const int64_t begin = strip * r.strip, end = std::min(begin + r.strip, r.task->gate->out_features);
  GateAndUp part;
  for (int64_t first = 0, rows = 0; first < r.in.num_rows(); first += rows) {
    rows = GateAndUp::rows_at(first, r.in.num_rows());
    const int64_t columns = GateAndUp::columns_of(rows);
    for (int64_t col = begin; col < end; col += columns)
      part.compute(r, first, rows, col, std::min(col + columns, end));
  }
}

void down(const Running& r, int64_t strip) {
  const Weight& w = *r.task->down;
  const int64_t begin = strip * r.out_strip;
  r.hidden_packed.multiply(w, begin, std::min(begin + r.out_strip, w.out_features), r.task->y);
}

// All tasks piece by piece, every thread at every task: for few rows, where the reading of the weights is the work.
void run_by_pieces(Context& ctx, Mat<const float> x, Vec<Running> running, const Totals& totals) {
  for (int64_t i = 0; ctx.observer && i < running.shape[0]; ++i)
    ctx.observer->see(*running[i].task->gate, x, &running[i].task->rows);
  const int64_t panels = panels_in_piece(totals.panels, totals.rows, x.shape[1]);
  for_all_pieces(ctx, running, &Running::panels, panels, [&](const Running& r, int64_t panel) {
    r.in.pack_panel(ctx, x, r.task->rows.data(), *r.task->gate, panel);
  });
  for_all_pieces(ctx, running, &Running::strips, totals.strips_at_once(), gate_and_up);
  for (int64_t i = 0; ctx.observer && i < running.shape[0]; ++i)
    ctx.observer->see(*running[i].task->down, running[i].hidden, nullptr);
  for_all_pieces(ctx, running, &Running::panels, panels, [&](const Running& r, int64_t panel) {
    r.hidden_packed.pack_panel(ctx, r.hidden, nullptr, *r.task->down, panel);
  });
  for_all_pieces(ctx, running, &Running::out_strips, totals.out_strips_at_once(), down);
}

// A task from beginning to end on one thread, whose cache keeps all that lies between.
void run_whole(const Context& ctx, Mat<const float> x, const Running& r) {
  for (int64_t p = 0; p < r.in.num_panels(); ++p)
    r.in.pack_panel(ctx, x, r.task->rows.data(), *r.task->gate, p);
  for (int64_t s = 0; s < r.strips(); ++s) gate_and_up(r, s);
  for (int64_t p = 0; p < r.in.num_panels(); ++p)
    r.hidden_packed.pack_panel(ctx, r.hidden, nullptr, *r.task->down, p);
  for (int64_t s = 0; s < r.out_strips(); ++s) down(r, s);
}

// All tasks, each on one thread. Their hidden layers have a place for each thread and not for each task, so that it stays in
// the thread's cache from one task to the next.
void run_whole_tasks(Context& ctx, Mat<const float> x, Vec<Running> running) {
  const int64_t threads = ctx.pool.num_threads();
  int64_t largest = 0;
  for (int64_t i = 0; i < running.shape[0]; ++i)
    largest = std::max(largest, running[i].in.num_rows() * running[i].task->gate->out_features);
  const auto hidden = ctx.scratch.mat<float>(threads, largest);
  std::atomic<int64_t> next = 0;
  parallel_for(ctx.pool, threads, 1, [&](int64_t begin, int64_t) {
    for (int64_t i = next++; i < running.shape[0]; i = next++) {
      Running r = running[i];
      r.hidden = {hidden[begin].data, {r.in.num_rows(), r.task->gate->out_features}};
      run_whole(ctx, x, r);
    }
  });
}

// Tasks that fit one thread's cache and are many enough to keep all threads busy: a prompt's experts.
bool runs_whole(const MlpTask& task, size_t num_tasks, int num_threads) {
  constexpr size_t kFew = 8,
                   kMany = 160;  // rows; 160 rows of V2-Lite's hidden layer and its two inputs are 2 MB
  return task.rows.size() >= kFew && task.rows.size() <= kMany &&
         num_tasks >= 4 * static_cast<size_t>(num_threads);
}

}  // namespace

void grouped_mlp(Context& ctx, Mat<const float> x, std::span<const MlpTask> tasks) {
  std::vector<MlpTask> whole, pieces;
  for (const MlpTask& task : tasks)
    (ctx.observer == nullptr && runs_whole(task, tasks.size(), ctx.pool.num_threads()) ? whole : pieces)
        .push_back(task);
  // The largest first, so that no thread begins one when the others are done.
  std::ranges::stable_sort(whole, std::greater{}, [](const MlpTask& task) { return task.rows.size(); });
  for (const bool by_pieces : {true, false}) {
    const std::vector<MlpTask>& list = by_pieces ? pieces : whole;
    if (list.empty()) continue;
    const auto frame = ctx.scratch.frame();
    const auto running = ctx.scratch.vec<Running>(static_cast<int64_t>(list.size()));
    const Totals totals = prepare(ctx, x, list, by_pieces, running);
    if (by_pieces) {
      run_by_pieces(ctx, x, running, totals);
    } else {
      run_whole_tasks(ctx, x, running);
    }
  }
}

}  // namespace hadal::ops
