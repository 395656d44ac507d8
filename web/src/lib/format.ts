/** Numbers as people read them, in the page's language. */
import { locale } from "./i18n";

export function integer(value: number): string {
  return Math.round(value).toLocaleString(locale());
}

/** 1,234 → 1.2K; for axes and tiles. */
export function compact(value: number): string {
  return value.toLocaleString(locale(), { notation: "compact", maximumFractionDigits: 1 });
}

export function percent(part: number, whole: number, digits = 0): string {
  const share = whole > 0 ? part / whole : 0;
  return share.toLocaleString(locale(), { style: "percent", maximumFractionDigits: digits });
}

/** Three digits at most behind which nobody looks: 0.42, 9.6, 128. */
export function rate(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString(locale(), { maximumFractionDigits: digits });
}

/** 850 ms, 4.2 s, 1:05 min. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`;
}

/** 3 d 4 h, 5 h 12 min, 42 s. */
export function uptime(seconds: number): string {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** YYYY-MM-DD in UTC. */
export function utcDay(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
