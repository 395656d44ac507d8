/** The status page: what the server does right now. */
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { ApiError, get } from "../lib/api";
import { axisStyle, cssColor, mount } from "../lib/chart";
import { compact, integer, percent, rate, uptime } from "../lib/format";
import { useTheme } from "../lib/hooks";
import { locale, t } from "../lib/i18n";
import { prefs } from "../lib/prefs";
import { KeyForm, Notice, PageHeader } from "../lib/ui";
import { ExpertMap } from "./expert_map";
import { since, type LayerCounts } from "./heatmap";
import type { Status } from "./types";

const PERIOD_MS = 1000;
const KEEP = 120; // samples
const EXPERTS_EVERY_MS = 5000; // how often counts are remembered for "last minute"
const MINUTE_MS = 60_000;

interface Live {
  status: Status | null;
  /** Time of the last answer, and whether a key is missing. */
  at: number;
  locked: boolean;
  speed: [number[], number[], number[]];
  minuteAgo: LayerCounts[] | undefined;
}

/** Asks the server every second while the page is visible. */
function useStatus(): Live {
  const live = useRef<Live>({
    status: null,
    at: Date.now(),
    locked: false,
    speed: [[], [], []],
    minuteAgo: undefined,
  });
  const counts = useRef<{ at: number; experts: LayerCounts[] }[]>([]);
  const [, draw] = useState(0);
  useEffect(() => {
    let timer = 0;
    let over = false;
    const ask = async () => {
      const now = live.current;
      if (!document.hidden) {
        try {
          const status = await get<Status>("/api/status", { signal: AbortSignal.timeout(10_000) });
          live.current = {
            ...now,
            status,
            at: Date.now(),
            locked: false,
            ...remember(status, now, counts.current),
          };
        } catch (error) {
          const locked = error instanceof ApiError && (error.status === 401 || error.status === 403);
          live.current = { ...now, locked };
        }
        if (over) return;
        draw((n) => n + 1);
      }
      timer = window.setTimeout(() => void ask(), PERIOD_MS);
    };
    void ask();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, []);
  return live.current;
}

function remember(status: Status, before: Live, counts: { at: number; experts: LayerCounts[] }[]) {
  const now = Date.now();
  const [times, generated, prompt] = before.speed;
  const speed: Live["speed"] = [
    [...times, now / 1000].slice(-KEEP),
    [...generated, status.tok_s.generated].slice(-KEEP),
    [...prompt, status.tok_s.prompt].slice(-KEEP),
  ];
  const last = counts.at(-1);
  if (!last || now - last.at >= EXPERTS_EVERY_MS) counts.push({ at: now, experts: status.experts });
  while (counts.length > 1 && counts[1]!.at <= now - MINUTE_MS) counts.shift();
  return { speed, minuteAgo: counts[0]?.experts };
}

function Tile(props: {
  title: string;
  value: string;
  unit?: string;
  detail?: string;
  children?: ComponentChildren;
}) {
  return (
    <div class="tile">
      <h2>{props.title}</h2>
      <p class="value">
        {props.value}
        {props.unit && <small> {props.unit}</small>}
      </p>
      {props.children}
      <p class="detail">{props.detail}</p>
    </div>
  );
}

/** The tile's number once more, as a length. */
function Bar({ parts }: { parts: [string, number][] }) {
  return (
    <div class="split-bar" aria-hidden="true">
      {parts.map(([name, share]) => (
        <i key={name} class={name} style={{ width: `${100 * Math.min(1, Math.max(0, share))}%` }} />
      ))}
    </div>
  );
}

function Tiles({ status }: { status: Status }) {
  const { kv_pages: kv, prefix_cache: prefix, speculation } = status;
  const unit = t("tokensPerSecondUnit");
  const pages = t("kvDetail", {
    used: integer(kv.used),
    cached: integer(kv.cached),
    free: integer(Math.max(0, kv.total - kv.used - kv.cached)),
  });
  return (
    <div class="tiles">
      <Tile
        title={t("running")}
        value={integer(status.running)}
        detail={t("runningOf", { n: integer(status.max_num_seqs) })}
      >
        <Bar parts={[["used", status.running / Math.max(1, status.max_num_seqs)]]} />
      </Tile>
      <Tile
        title={t("waiting")}
        value={integer(status.waiting)}
        detail={t("waitingOf", { n: integer(status.max_queued) })}
      >
        <Bar parts={[["used", status.waiting / Math.max(1, status.max_queued)]]} />
      </Tile>
      <Tile
        title={t("generation")}
        value={rate(status.tok_s.generated)}
        unit={unit}
        detail={t("totalTokens", { n: compact(status.tokens.generated) })}
      />
      <Tile
        title={t("promptSpeed")}
        value={rate(status.tok_s.prompt)}
        unit={unit}
        detail={t("totalTokens", { n: compact(status.tokens.prompt) })}
      />
      <Tile
        title={t("kvPages")}
        value={percent(kv.used, kv.total)}
        detail={`${pages} · ${t("kvPageSize", { n: kv.page_size })}`}
      >
        <Bar
          parts={[
            ["used", kv.used / Math.max(1, kv.total)],
            ["kept", kv.cached / Math.max(1, kv.total)],
          ]}
        />
      </Tile>
      <Tile
        title={t("prefixHits")}
        value={prefix.query_tokens > 0 ? percent(prefix.hit_tokens, prefix.query_tokens) : "–"}
        detail={
          prefix.query_tokens > 0
            ? t("prefixDetail", { hit: compact(prefix.hit_tokens), query: compact(prefix.query_tokens) })
            : t("noneYet")
        }
      />
      <Tile
        title={t("speculation")}
        value={
          speculation && speculation.drafted > 0 ? percent(speculation.accepted, speculation.drafted) : "–"
        }
        detail={
          !speculation
            ? t("speculationOff")
            : speculation.drafted > 0
              ? t("speculationDetail", {
                  accepted: compact(speculation.accepted),
                  drafted: compact(speculation.drafted),
                })
              : t("noneYet")
        }
      />
    </div>
  );
}

function SpeedChart({ speed }: { speed: Live["speed"] }) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const theme = useTheme();
  useEffect(() => {
    if (!box.current) return;
    const axis = axisStyle();
    const line = (label: string, color: string): uPlot.Series => ({
      label,
      stroke: cssColor(color),
      width: 2,
      points: { show: false },
    });
    const mounted = mount(box.current, (width) => {
      return new uPlot(
        {
          width,
          height: 190,
          legend: { show: false },
          cursor: { show: false },
          scales: {
            x: { range: () => [Date.now() / 1000 - KEEP, Date.now() / 1000] },
            y: { range: (_, __, max) => [0, Math.max(1, max * 1.15)] },
          },
          series: [{}, line(t("generation"), "var(--accent)"), line(t("promptSpeed"), "var(--second)")],
          axes: [
            {
              ...axis,
              size: 28,
              space: 80,
              values: (_, ticks) =>
                ticks.map((tick) =>
                  new Date(tick * 1000).toLocaleTimeString(locale(), { timeStyle: "medium", hour12: false }),
                ),
            },
            { ...axis, size: 48, values: (_, ticks) => ticks.map((tick) => compact(tick)) },
          ],
        },
        speed,
        box.current!,
      );
    });
    chart.current = mounted.chart;
    return mounted.destroy;
  }, [theme]);
  useEffect(() => chart.current?.setData(speed), [speed]);
  return (
    <section class="panel">
      <header>
        <h2>{t("speedChart")}</h2>
        <span class="hint">{t("speedChartText")}</span>
        <div class="spacer" />
        <span class="key-line first">{t("generation")}</span>
        <span class="key-line second">{t("promptSpeed")}</span>
      </header>
      <div
        ref={box}
        role="img"
        aria-label={t("speedChartLabel", {
          tok: rate(speed[1].at(-1) ?? 0),
          prompt: rate(speed[2].at(-1) ?? 0),
        })}
      />
    </section>
  );
}

function Experts({ status, minuteAgo }: { status: Status; minuteAgo: LayerCounts[] | undefined }) {
  const [recent, setRecent] = useState(false);
  const layers = useMemo(
    () => (recent ? since(status.experts, minuteAgo) : status.experts),
    [status.experts, minuteAgo, recent],
  );
  const any = status.experts.some(({ counts }) => counts.some((count) => count > 0));
  return (
    <section class="panel">
      <header>
        <h2>{t("expertMap")}</h2>
        <div class="spacer" />
        <div class="segments" role="group" aria-label={t("period")}>
          <button type="button" aria-pressed={!recent} onClick={() => setRecent(false)}>
            {t("sinceStart")}
          </button>
          <button type="button" aria-pressed={recent} onClick={() => setRecent(true)}>
            {t("lastMinute")}
          </button>
        </div>
      </header>
      <p class="hint">{t("expertMapText")}</p>
      {any ? (
        <ExpertMap layers={layers} />
      ) : (
        <div class="empty-state">
          <h3>{t("noExperts")}</h3>
          <p>{t("noExpertsText")}</p>
        </div>
      )}
    </section>
  );
}

export function StatusApp() {
  const { status, at, locked, speed, minuteAgo } = useStatus();
  const silent = Math.floor((Date.now() - at) / 1000);
  const stale = silent >= 5;
  return (
    <div class="page">
      <PageHeader here="status" />
      <main>
        <div class="title-line">
          <h1>{t("statusTitle")}</h1>
          {!locked && (
            <span class={`live ${stale ? "stale" : ""}`}>
              {t(stale ? "statusStale" : "statusLive", { seconds: silent })}
            </span>
          )}
          <div class="spacer" />
          {status && <span class="hint">{t("uptime", { time: uptime(status.uptime_s) })}</span>}
        </div>
        {locked && (
          <Notice kind="info">
            <p>{t(prefs.key() ? "keyRefused" : "keyNeeded")}</p>
            <KeyForm onDone={(key, keep) => prefs.setKey(key, keep)} />
          </Notice>
        )}
        {status && (
          <>
            <Tiles status={status} />
            <SpeedChart speed={speed} />
            <Experts status={status} minuteAgo={minuteAgo} />
          </>
        )}
        {!status && !locked && <p class="hint">{t("loading")}</p>}
      </main>
    </div>
  );
}
