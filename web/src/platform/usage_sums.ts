/** Usage added up in the ways that the page shows it. */
import { sumDecimals } from "../lib/decimal";
import { isoDay } from "../lib/format";
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

/** A sum for each model or key, by name. */
export function sumBy(rows: UsageRow[], field: "model" | "key"): Sum[] {
  const names = [...new Set(rows.map((row) => row[field]))].sort();
  return names.map((name) => sum(name, rows.filter((row) => row[field] === name)));
}

/** Every day of the period, from first to last, as YYYY-MM-DD. */
export function daysOf(from: Date, to: Date): string[] {
  const days: string[] = [];
  const day = new Date(from.getFullYear(), from.getMonth(), from.getDate(), 12);
  while (isoDay(day) <= isoDay(to)) {
    days.push(isoDay(day));
    day.setDate(day.getDate() + 1);
  }
  return days;
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

/** One field of a CSV line. A leading sign would be a formula to a spreadsheet. */
function csvField(value: string | number): string {
  const text = typeof value === "number" ? String(value) : value.replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

export function toCsv(rows: UsageRow[], currency: string): string {
  const head = ["day", "model", "key", "requests", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens"];
  const lines = rows.map((row) =>
    [
      row.day, row.model, row.key, row.requests, row.prompt_cache_hit_tokens, row.prompt_cache_miss_tokens,
      row.completion_tokens, row.cost, currency,
    ].map(csvField).join(","),
  );
  return [[...head, "completion_tokens", "cost", "currency"].join(","), ...lines].join("\n") + "\n";
}
