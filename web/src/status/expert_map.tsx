/** The heat map of experts: a canvas, what is under the pointer, and the same in numbers. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { cssColor } from "../lib/chart";
import { integer, percent, rate } from "../lib/format";
import { useTheme } from "../lib/hooks";
import { t } from "../lib/i18n";
import { heat, ramp, summary, type LayerCounts, type Rgb } from "./heatmap";

const LABELS = 34; // pixels at the left for the layers' numbers

function parseRgb(color: string): Rgb {
  const [r = 0, g = 0, b = 0] = (color.match(/[\d.]+/g) ?? []).map(Number);
  return [r, g, b];
}

function stops(): Rgb[] {
  return [0, 1, 2, 3, 4].map((i) => parseRgb(cssColor(`var(--heat-${i})`)));
}

interface Geometry {
  width: number;
  row: number;
  cell: number;
  experts: number;
}

function geometry(width: number, layers: LayerCounts[]): Geometry {
  const experts = Math.max(1, ...layers.map(({ counts }) => counts.length));
  const row = layers.length > 40 ? 9 : layers.length > 16 ? 14 : 20;
  return { width, row, cell: (width - LABELS) / experts, experts };
}

function paint(canvas: HTMLCanvasElement, layers: LayerCounts[], { width, row, cell }: Geometry): void {
  const scale = devicePixelRatio;
  const height = row * layers.length;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.scale(scale, scale);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  const colors = stops();
  const gap = cell > 5 ? 1 : 0;
  const label = cssColor("var(--muted)");
  const every = row < 12 ? 4 : 1;
  layers.forEach((layer, y) => {
    const { mean } = summary(layer);
    if (y % every === 0) {
      pen.fillStyle = label;
      pen.fillText(String(layer.layer), LABELS - 8, (y + 0.5) * row);
    }
    layer.counts.forEach((count, x) => {
      pen.fillStyle = `rgb(${ramp(colors, heat(count, mean)).join(" ")})`;
      pen.fillRect(LABELS + x * cell, y * row, Math.max(0.5, cell - gap), row - 1);
    });
  });
}

function LayerTable({ layers }: { layers: LayerCounts[] }) {
  return (
    <details class="numbers">
      <summary>{t("layerTable")}</summary>
      <div class="table-frame" tabIndex={0} role="group" aria-label={t("layerTable")}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t("layer")}</th>
              <th scope="col" class="number">
                {t("tokens")}
              </th>
              <th scope="col" class="number">
                {t("busiest")}
              </th>
              <th scope="col" class="number">
                {t("share")}
              </th>
              <th scope="col" class="number">
                {t("imbalance")}
              </th>
              <th scope="col" class="number">
                {t("unused")}
              </th>
            </tr>
          </thead>
          <tbody>
            {layers.map(summary).map((row) => (
              <tr key={row.layer}>
                <th scope="row">{row.layer}</th>
                <td class="number">{integer(row.total)}</td>
                <td class="number">{row.total > 0 ? row.busiest : "–"}</td>
                <td class="number">{percent(row.most, row.total, 1)}</td>
                <td class="number">{row.mean > 0 ? rate(row.most / row.mean) : "–"}</td>
                <td class="number">{row.unused}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

export function ExpertMap({ layers }: { layers: LayerCounts[] }) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [under, setUnder] = useState<{ x: number; y: number } | null>(null);
  const theme = useTheme();
  const shape = geometry(width, layers);

  useEffect(() => {
    const observer = new ResizeObserver(() => setWidth(box.current?.clientWidth ?? 0));
    if (box.current) observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (canvas.current && width > 0) paint(canvas.current, layers, shape);
  }, [layers, width, theme]);

  const find = (event: PointerEvent) => {
    const x = Math.floor((event.offsetX - LABELS) / shape.cell);
    const y = Math.floor(event.offsetY / shape.row);
    setUnder(layers[y]?.counts[x] === undefined ? null : { x, y });
  };
  const layer = under && layers[under.y];
  const count = layer?.counts[under?.x ?? -1];
  const mean = layer ? summary(layer).mean : 0;
  return (
    <div class="expert-map">
      <div ref={box}>
        <canvas
          ref={canvas}
          role="img"
          aria-label={t("expertMapLabel", { layers: layers.length, experts: shape.experts })}
          onPointerMove={find}
          onPointerLeave={() => setUnder(null)}
        />
      </div>
      <div class="legend">
        <span class="cell-info">
          {layer && count !== undefined && under
            ? t("expertCell", {
                layer: layer.layer,
                expert: under.x,
                count: integer(count),
                times: rate(mean > 0 ? count / mean : 0),
              })
            : ""}
        </span>
        <span>{t("legendLow")}</span>
        <span class="ramp" aria-hidden="true" />
        <span>{t("legendHigh")}</span>
      </div>
      <LayerTable layers={layers} />
    </div>
  );
}
