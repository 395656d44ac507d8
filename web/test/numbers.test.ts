import assert from "node:assert/strict";
import { test } from "node:test";
import { lastDays, stacks, sumBy } from "../src/platform/usage_sums";
import type { UsageRow } from "../src/platform/types";
import { heat, ramp, since, summary } from "../src/status/heatmap";

const row = (day: string, model: string, key: string, requests: number): UsageRow => ({
  day,
  model,
  key,
  name: `name of ${key}`,
  requests,
  prompt_cache_hit_tokens: 1,
  prompt_cache_miss_tokens: 2,
  completion_tokens: 3,
  cost: "0.10",
});
const rows = [
  row("2026-02-28", "b", "k1", 1),
  row("2026-03-01", "a", "k1", 2),
  row("2026-03-01", "b", "k2", 4),
];

test("days go over the ends of months, in UTC", () => {
  assert.deepEqual(lastDays(3, Date.parse("2026-03-01T23:59:59Z")), [
    "2026-02-27",
    "2026-02-28",
    "2026-03-01",
  ]);
});

test("usage by model and by key", () => {
  const byModel = sumBy(rows, "model").map(({ name, requests, cost }) => [name, requests, cost]);
  assert.deepEqual(byModel, [
    ["a", 2, "0.10"],
    ["b", 5, "0.20"],
  ]);
  assert.deepEqual(
    sumBy(rows, "key").map(({ name }) => name),
    ["name of k1", "name of k2"],
  );
});

test("stacks lie on one another", () => {
  const days = ["2026-02-28", "2026-03-01"];
  assert.deepEqual(stacks(rows, days, ["a", "b"], "requests"), [
    [0, 2],
    [1, 6],
  ]);
  assert.deepEqual(stacks(rows, days, ["a", "b"], "tokens"), [
    [0, 6],
    [6, 12],
  ]);
});

test("the map's counts since a sample", () => {
  const now = [{ layer: 1, counts: [5, 7] }];
  assert.deepEqual(since(now, undefined), now);
  assert.deepEqual(since(now, [{ layer: 1, counts: [2, 7] }]), [{ layer: 1, counts: [3, 0] }]);
  assert.deepEqual(since(now, [{ layer: 1, counts: [9, 9] }]), now, "the server was restarted");
  assert.deepEqual(since(now, [{ layer: 1, counts: [1] }]), now);
});

test("a layer in numbers", () => {
  const expected = { layer: 3, total: 8, mean: 2, busiest: 2, most: 5, unused: 1 };
  assert.deepEqual(summary({ layer: 3, counts: [3, 0, 5, 0].map((n, i) => (i === 3 ? 0 : n)) }), {
    ...expected,
    unused: 2,
  });
  assert.equal(summary({ layer: 0, counts: [] }).most, 0);
});

test("heat: nothing, the mean, four times the mean", () => {
  assert.equal(heat(0, 10), 0);
  assert.equal(heat(10, 10), 0.5);
  assert.equal(heat(40, 10), 1);
  assert.equal(heat(4000, 10), 1);
  assert.ok(heat(1, 1000) > 0, "one token is not none");
  assert.deepEqual(
    ramp(
      [
        [0, 0, 0],
        [100, 200, 40],
      ],
      0.5,
    ),
    [50, 100, 20],
  );
  assert.deepEqual(
    ramp(
      [
        [0, 0, 0],
        [10, 10, 10],
      ],
      7,
    ),
    [10, 10, 10],
  );
});
