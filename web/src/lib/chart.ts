/** uPlot in the page's colours. */
import uPlot from "uplot";

/** What a CSS colour, var(--x) included, is right now as rgb(...). */
export function cssColor(value: string): string {
  const probe = document.createElement("span");
  probe.style.color = value;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

export function axisStyle(): Pick<uPlot.Axis, "stroke" | "grid" | "ticks" | "font"> {
  const line = cssColor("var(--line)");
  return {
    stroke: cssColor("var(--muted)"),
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
    font: "12px system-ui, sans-serif",
  };
}

/** Keeps a chart as wide as its box. Returns what undoes it all. */
export function mount(
  box: HTMLElement,
  make: (width: number) => uPlot,
): { chart: uPlot; destroy: () => void } {
  const chart = make(Math.max(200, box.clientWidth));
  const observer = new ResizeObserver(() => {
    const width = Math.max(200, box.clientWidth);
    if (width !== chart.width) chart.setSize({ width, height: chart.height });
  });
  observer.observe(box);
  return {
    chart,
    destroy: () => {
      observer.disconnect();
      chart.destroy();
    },
  };
}
