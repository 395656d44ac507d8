/** How tokens spread over experts: what the map shows, apart from drawing it. */

export interface LayerCounts {
  layer: number;
  counts: number[];
}

/** Counts of the time between two samples; all of `now` where `before` does not match it. */
export function since(now: LayerCounts[], before: LayerCounts[] | undefined): LayerCounts[] {
  return now.map(({ layer, counts }) => {
    const old = before?.find((row) => row.layer === layer)?.counts;
    if (!old || old.length !== counts.length) return { layer, counts };
    // A count that fell is a server that was restarted.
    return { layer, counts: counts.map((count, i) => (count >= old[i]! ? count - old[i]! : count)) };
  });
}

export interface LayerSummary {
  layer: number;
  total: number;
  mean: number;
  busiest: number;
  most: number;
  unused: number;
}

export function summary({ layer, counts }: LayerCounts): LayerSummary {
  let total = 0;
  let busiest = 0;
  let unused = 0;
  counts.forEach((count, i) => {
    total += count;
    if (count > counts[busiest]!) busiest = i;
    if (count === 0) unused++;
  });
  return {
    layer,
    total,
    mean: total / Math.max(1, counts.length),
    busiest,
    most: counts[busiest] ?? 0,
    unused,
  };
}

/** 0 (no token) to 1 (four times the mean or more); the mean is at a half. */
export function heat(count: number, mean: number): number {
  if (count <= 0 || mean <= 0) return 0;
  return Math.min(1, Math.max(0.06, 0.5 + Math.log2(count / mean) / 4));
}

export type Rgb = [number, number, number];

/** A colour between the stops, which lie evenly from 0 to 1. */
export function ramp(stops: Rgb[], at: number): Rgb {
  const place = Math.min(1, Math.max(0, at)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(place));
  const from = stops[i]!;
  const to = stops[i + 1]!;
  return from.map((value, c) => Math.round(value + (to[c]! - value) * (place - i))) as Rgb;
}
