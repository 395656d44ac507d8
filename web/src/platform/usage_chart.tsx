/** Stacked bars: a measure by day and model. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { axisStyle, cssColor, mount } from "../lib/chart";
import { compact, integer } from "../lib/format";
import { useTheme } from "../lib/hooks";
import { locale } from "../lib/i18n";
import { stacks, type Measure } from "./usage_sums";
import type { UsageRow } from "./types";

const COLORS = ["var(--accent)", "var(--second)", "var(--third)", "var(--fourth)"];

export function modelColor(index: number): string {
  return COLORS[index % COLORS.length]!;
}

const shortDay = (day: string) =>
  new Date(`${day}T12:00:00`).toLocaleDateString(locale(), { day: "numeric", month: "short" });

interface Props {
  rows: UsageRow[];
  days: string[];
  models: string[];
  what: Measure;
  label: string;
}

export function UsageChart({ rows, days, models, what, label }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  useEffect(() => {
    if (!box.current) return;
    const tops = stacks(rows, days, models, what);
    const bars = uPlot.paths.bars?.({ size: [0.7, 48], radius: 0.15 });
    const axis = axisStyle();
    // The tallest stack first, so that those below it are painted over it.
    const series: uPlot.Series[] = tops.map((_, i) => {
      const color = cssColor(modelColor(i));
      return {
        label: models[i]!,
        stroke: color,
        fill: color,
        width: 0,
        points: { show: false },
        ...(bars ? { paths: bars } : {}),
      };
    });
    const number = (value: number) =>
      what === "cost" ? value.toLocaleString(locale()) : value < 1000 ? integer(value) : compact(value);
    const mounted = mount(box.current, (width) => {
      const options: uPlot.Options = {
        width,
        height: 240,
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: false, range: () => [-0.6, days.length - 0.4] },
          y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] },
        },
        series: [{}, ...series.reverse()],
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 28,
            space: 64,
            incrs: [1, 2, 7, 14, 30],
            values: (_, at) => at.map((i) => (days[i] ? shortDay(days[i]) : "")),
          },
          { ...axis, size: 60, values: (_, ticks) => ticks.map(number) },
        ],
      };
      return new uPlot(options, [days.map((_, i) => i), ...tops.reverse()], box.current!);
    });
    return mounted.destroy;
  }, [rows, what, theme]);
  return <div ref={box} class="chart" role="img" aria-label={label} />;
}
