/** Usage added up in the ways that the page shows it. */
import { sumDecimals } from "../lib/decimal";
import { utcDay } from "../lib/format";
import type { UsageRow } from "./types";

export interface Sum {
  name: string;
  requests: number;
  hit: number;
  miss: number;
  output: number;
  cost: string;
}

export function sum(name: string, rows: UsageRow[]): Sum {
  const add = (pick: (row: UsageRow) => number) => rows.reduce((total, row) => total + pick(row), 0);
  return {
    name,
    requests: add((row) => row.requests),
    hit: add((row) => row.prompt_cache_hit_tokens),
    miss: add((row) => row.prompt_cache_miss_tokens),
    output: add((row) => row.completion_tokens),
    cost: sumDecimals(rows.map((row) => row.cost)),
  };
}

/** A sum for each model or key, in the order of their names. */
export function sumBy(rows: UsageRow[], field: "model" | "key"): Sum[] {
  const groups = new Map<string, UsageRow[]>();
  for (const row of rows) groups.set(row[field], [...(groups.get(row[field]) ?? []), row]);
  const sums = [...groups.values()].map((group) =>
    sum(field === "model" ? group[0]!.model : group[0]!.name, group),
  );
  return sums.sort((a, b) => a.name.localeCompare(b.name));
}

/** The last `count` days as YYYY-MM-DD, today last; UTC, as the server counts them. */
export function lastDays(count: number, now: number): string[] {
  return Array.from({ length: count }, (_, i) => utcDay(now - (count - 1 - i) * 86_400_000));
}

export type Measure = "cost" | "tokens" | "requests";

export function measure(row: UsageRow, what: Measure): number {
  if (what === "requests") return row.requests;
  if (what === "cost") return Number(row.cost) || 0;
  return row.prompt_cache_hit_tokens + row.prompt_cache_miss_tokens + row.completion_tokens;
}

/** For each model its measure on each day, on top of the models before it: bars that are drawn last first. */
export function stacks(rows: UsageRow[], days: string[], models: string[], what: Measure): number[][] {
  const below = days.map(() => 0);
  return models.map((model) => {
    for (const row of rows) {
      const day = days.indexOf(row.day);
      if (row.model === model && day >= 0) below[day]! += measure(row, what);
    }
    return [...below];
  });
}
