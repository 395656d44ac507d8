#include "hadal/ops/mlp.h"

#include <map>
#include <memory>

#include <gtest/gtest.h>

#include "hadal/core/test_files.h"
#include "hadal/kernels/kernel_table.h"
#include "hadal/kernels/test_weight.h"
#include "hadal/ops/linear.h"
#include "hadal/ops/test_context.h"

namespace hadal::ops {
namespace {

using kernels::TestWeight;

constexpr int64_t kIn = 50, kOut = 70;

// An MLP of some width and the rows that go through it.
struct Mlp {
  std::unique_ptr<TestWeight> stored[3];
  Weight gate, up, down;
  std::vector<int32_t> rows;

  Mlp(TestRandom& random, Format format, int64_t width, int64_t count, int64_t tokens) {
    const int64_t block = format == Format::kF8E4M3 ? 24 : 0;
    const auto make = [&](int i, int64_t out, int64_t in) {
      stored[i] = std::make_unique<TestWeight>(random, format, out, in, block, block);
      return stored[i]->weight();
    };
    gate = make(0, width, kIn);
    up = make(1, width, kIn);
    down = make(2, kOut, width);
    for (int64_t i = 0; i < count; ++i) rows.push_back(static_cast<int32_t>(random.below(tokens)));
  }
};

std::vector<std::vector<float>> together(const Precision& precision, const ThreadPlan& threads,
                                         Mat<const float> x, const std::vector<Mlp>& mlps,
                                         InputObserver* observer = nullptr) {
  TestContext ctx(precision, threads);
  static_cast<Context&>(ctx).observer = observer;
  std::vector<Tensor<float, 2>> results;
  results.reserve(mlps.size());
  std::vector<MlpTask> tasks;
  for (const Mlp& mlp : mlps) {
    auto& y = results.emplace_back(std::array<int64_t, 2>{static_cast<int64_t>(mlp.rows.size()), kOut});
    tasks.push_back({&mlp.gate, &mlp.up, &mlp.down, mlp.rows, y.view()});
  }
  grouped_mlp(ctx, x, tasks);
  std::vector<std::vector<float>> values;
  for (const auto& y : results) values.push_back(y.values());
  return values;
}

// The definition: one row of one MLP at a time, through linear() on one thread.
std::vector<float> one_by_one(const Precision& precision, Mat<const float> x, const Mlp& mlp) {
  TestContext ctx(precision);
  std::vector<float> values;
  for (const int32_t row : mlp.rows) {
    const int64_t width = mlp.gate.out_features;
    Tensor<float, 2> gate({1, width}), up({1, width}), y({1, kOut});
    linear(ctx, x.rows(row, 1), mlp.gate, gate.view());
    linear(ctx, x.rows(row, 1), mlp.up, up.view());
    kernels::kernels().swiglu(gate.values().data(), up.values().data(), gate.values().data(), width);
    linear(ctx, gate.view(), mlp.down, y.view());
    values.insert(values.end(), y.values().begin(), y.values().end());
  }
  return values;
}

TEST(GroupedMlp, HasTheBitsOfOneMlpAndOneRowAtATime) {
  TestRandom random(1);
  Tensor<float, 2> x({60, kIn + 2});
  x.values() = random.uniform_vector(60 * (kIn + 2), -1.0F, 1.0F);
  const Mat<const float> in = x.view().slice_last(0, kIn);
  for (const Precision& precision : kAllPrecisions) {
    for (const Format format : kernels::kFloatAndIntegerFormats) {
      // One row is one row of activations to a kernel, 40 are three panels; widths differ as shared experts' do.
      std::vector<Mlp> mlps;
      for (const auto& [width, rows] : {std::pair{100, 1}, {33, 40}, {33, 7}, {32, 17}})
        mlps.emplace_back(random, format, width, rows, 60);
      const ThreadPlan two_nodes{{{0, {{}, {}, {}}}, {1, {{}}}}};
      for (const ThreadPlan& threads : {unpinned_threads(1), unpinned_threads(4), two_nodes}) {
        const auto found = together(precision, threads, in, mlps);
        for (size_t i = 0; i < mlps.size(); ++i) {
          ASSERT_EQ(found[i], one_by_one(precision, in, mlps[i]))
              << to_string(format) << ", " << threads.num_threads() << " threads in " << threads.groups.size()
              << " groups";
        }
      }
    }
  }
}

// More rows and features than are in work at the same time, and rows left over that would be less than two panels.
TEST(GroupedMlp, ManyRowsHaveTheBitsOfOneAtATime) {
  TestRandom random(4);
  Tensor<float, 2> x({60, kIn});
  x.values() = random.uniform_vector(60 * kIn, -1.0F, 1.0F);
  for (const Format format : {Format::kBF16, Format::kF8E4M3, Format::kI8, Format::kI4}) {
    for (const int64_t rows : {255, 256, 272, 273, 530}) {
      std::vector<Mlp> mlps;
      mlps.emplace_back(random, format, 290, rows, 60);
      ASSERT_EQ(together({}, unpinned_threads(2), x.view(), mlps)[0], one_by_one({}, x.view(), mlps[0]))
          << to_string(format) << ", " << rows << " rows";
    }
  }
}

// Keeps the rows that went into each weight.
class Rows : public InputObserver {
 public:
  void see(const Weight& w, Mat<const float> x, const std::span<const int32_t>* rows) override {
    std::vector<float>& kept = seen[w.data];
    const int64_t count = rows ? static_cast<int64_t>(rows->size()) : x.shape[0];
    for (int64_t i = 0; i < count; ++i) {
      const float* row = x[rows ? (*rows)[static_cast<size_t>(i)] : i].data;
      kept.insert(kept.end(), row, row + x.shape[1]);
    }
  }
  std::map<const std::byte*, std::vector<float>> seen;
};

TEST(GroupedMlp, AnObserverSeesWhatGoesInAndChangesNothing) {
  TestRandom random(2);
  Tensor<float, 2> x({60, kIn});
  x.values() = random.uniform_vector(60 * kIn, -1.0F, 1.0F);
  std::vector<Mlp> mlps;  // many and of middling size: without an observer some run whole on one thread
  for (int i = 0; i < 20; ++i) mlps.emplace_back(random, Format::kF32, 33, 20 + i, 60);
  Rows rows;
  EXPECT_EQ(together(kFloat32, unpinned_threads(2), x.view(), mlps, &rows),
            together(kFloat32, unpinned_threads(2), x.view(), mlps));
  ASSERT_EQ(rows.seen.size(), 40U);
  for (const Mlp& mlp : mlps) {
    std::vector<float> in;
    for (const int32_t row : mlp.rows) in.insert(in.end(), x.view()[row].data, x.view()[row].data + kIn);
    EXPECT_EQ(rows.seen[mlp.gate.data], in);
    // What went into down: times down it is what came out.
    TestContext ctx(kFloat32);
    const auto count = static_cast<int64_t>(mlp.rows.size());
    Tensor<float, 2> hidden({count, 33}), y({count, kOut});
    hidden.values() = rows.seen[mlp.down.data];
    linear(ctx, hidden.view(), mlp.down, y.view());
    EXPECT_EQ(y.values(), one_by_one(kFloat32, x.view(), mlp));
  }
}

TEST(GroupedMlp, NoTasksAreNoWork) {
  TestContext ctx;
  Tensor<float, 2> x({1, kIn});
  EXPECT_NO_THROW(grouped_mlp(ctx, x.view(), {}));
}

TEST(GroupedMlp, RefusesWhatDoesNotFit) {
  TestRandom random(3);
  TestContext ctx;
  const Mlp mlp(random, Format::kBF16, 20, 2, 2), other(random, Format::kBF16, 21, 2, 2);
  Tensor<float, 2> x({2, kIn}), wide({2, kIn + 1}), y({2, kOut});
  const auto refusal = [&](Mat<const float> in, const MlpTask& task) {
    return error_of(ErrorKind::kInternal, [&] { grouped_mlp(ctx, in, {&task, 1}); });
  };
  EXPECT_TRUE(
      contains(refusal(wide.view(), {&mlp.gate, &mlp.up, &mlp.down, mlp.rows, y.view()}), "x [2, 51]"));
  EXPECT_TRUE(
      contains(refusal(x.view(), {&mlp.gate, &other.up, &mlp.down, mlp.rows, y.view()}), "grouped_mlp"));
}

}  // namespace
}  // namespace hadal::ops
