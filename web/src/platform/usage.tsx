import { useEffect, useMemo, useState } from "preact/hooks";
import { get, request } from "../lib/api";
import { shortDecimal } from "../lib/decimal";
import { compact, integer, percent } from "../lib/format";
import { t, type Word } from "../lib/i18n";
import { Icon } from "../lib/icons";
import { download, Notice } from "../lib/ui";
import type { Account, Balance, UsageReply } from "./types";
import { modelColor, UsageChart } from "./usage_chart";
import { lastDays, sum, sumBy, type Measure, type Sum } from "./usage_sums";

const PERIODS = [7, 30, 90];
const MEASURES: [Measure, Word][] = [
  ["cost", "cost"],
  ["tokens", "tokens"],
  ["requests", "requests"],
];

function SumTable({
  title,
  head,
  sums,
  colors,
}: {
  title: string;
  head: string;
  sums: Sum[];
  colors: boolean;
}) {
  return (
    <section class="panel">
      <h2>{title}</h2>
      <div class="table-frame" tabIndex={0} role="group" aria-label={title}>
        <table>
          <thead>
            <tr>
              <th scope="col">{head}</th>
              <th scope="col" class="number">
                {t("requests")}
              </th>
              <th scope="col" class="number">
                {t("inputHit")}
              </th>
              <th scope="col" class="number">
                {t("inputMiss")}
              </th>
              <th scope="col" class="number">
                {t("output")}
              </th>
              <th scope="col" class="number">
                {t("cost")}
              </th>
            </tr>
          </thead>
          <tbody>
            {sums.map((row, i) => (
              <tr key={row.name}>
                <th scope="row">
                  {colors && <i class="swatch" style={{ background: modelColor(i) }} />}
                  {row.name}
                </th>
                <td class="number">{integer(row.requests)}</td>
                <td class="number">{integer(row.hit)}</td>
                <td class="number">{integer(row.miss)}</td>
                <td class="number">{integer(row.output)}</td>
                <td class="number">{shortDecimal(row.cost)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Tiles({ balance, total, currency }: { balance: Balance | null; total: Sum; currency: string }) {
  const info = balance?.balance_infos[0];
  const prompt = total.hit + total.miss;
  return (
    <div class="tiles">
      <div class={`tile ${balance && !balance.is_available ? "warning" : ""}`}>
        <h2>{t("balance")}</h2>
        <p class="value">
          {info ? shortDecimal(info.total_balance) : "–"}
          {info && <small> {info.currency}</small>}
        </p>
        <p class="detail">
          {balance && !balance.is_available ? t("balanceEmpty") : info ? "" : t("unlimited")}
        </p>
      </div>
      <div class="tile">
        <h2>{t("spent")}</h2>
        <p class="value">
          {shortDecimal(total.cost)}
          <small> {currency}</small>
        </p>
      </div>
      <div class="tile">
        <h2>{t("requests")}</h2>
        <p class="value">{integer(total.requests)}</p>
      </div>
      <div class="tile">
        <h2>{t("tokens")}</h2>
        <p class="value">{compact(prompt + total.output)}</p>
        <p class="detail">{prompt > 0 ? `${t("cacheHits")} ${percent(total.hit, prompt)}` : ""}</p>
      </div>
    </div>
  );
}

function Chart(props: { reply: UsageReply; days: string[]; models: string[] }) {
  const [what, setWhat] = useState<Measure>("tokens");
  const word = MEASURES.find(([name]) => name === what)![1];
  const title = t("perDay", { what: t(word) });
  return (
    <section class="panel">
      <header>
        <h2>{title}</h2>
        <div class="spacer" />
        <div class="segments" role="group" aria-label={t("show")}>
          {MEASURES.map(([name, label]) => (
            <button type="button" key={name} aria-pressed={name === what} onClick={() => setWhat(name)}>
              {t(label)}
            </button>
          ))}
        </div>
      </header>
      <UsageChart rows={props.reply.days} days={props.days} models={props.models} what={what} label={title} />
      <p class="legend">
        {props.models.map((model, i) => (
          <span key={model}>
            <i class="swatch" style={{ background: modelColor(i) }} />
            {model}
          </span>
        ))}
      </p>
    </section>
  );
}

export function UsagePage({ me }: { me: Account }) {
  const [period, setPeriod] = useState(30);
  const own = me.id !== "";
  const [all, setAll] = useState(!own);
  const [reply, setReply] = useState<UsageReply | null>(null);
  const [balance, setBalance] = useState<Balance | null>(null);
  const [problem, setProblem] = useState("");
  const days = useMemo(() => lastDays(period, Date.now()), [period]);
  const [from, to] = [days[0]!, days.at(-1)!];
  const path = `/api/platform/usage?from=${from}&to=${to}${all ? "&all=1" : ""}`;

  useEffect(() => {
    const abort = new AbortController();
    const { signal } = abort;
    const failed = (error: Error) => signal.aborted || setProblem(error.message);
    get<UsageReply>(path, { signal }).then(setReply, failed);
    get<Balance>("/user/balance", { signal }).then(setBalance, failed);
    return () => abort.abort();
  }, [path]);

  const exportCsv = async () => {
    const csv = await (await request(`${path}&format=csv`)).text();
    download(`usage-${from}-${to}.csv`, "text/csv", csv);
  };
  const byModel = useMemo(() => sumBy(reply?.days ?? [], "model"), [reply]);
  const byKey = useMemo(() => sumBy(reply?.days ?? [], "key"), [reply]);
  return (
    <>
      <div class="controls">
        <div class="segments" role="group" aria-label={t("period")}>
          {PERIODS.map((n) => (
            <button type="button" key={n} aria-pressed={n === period} onClick={() => setPeriod(n)}>
              {t("days", { n })}
            </button>
          ))}
        </div>
        {me.role === "admin" && own && (
          <label class="check">
            <input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} />
            <span>{t("allKeys")}</span>
          </label>
        )}
        <div class="spacer" />
        <button type="button" class="button" disabled={!reply?.days.length} onClick={() => void exportCsv()}>
          <Icon name="download" /> {t("exportCsv")}
        </button>
      </div>
      {problem && <Notice kind="error">{problem}</Notice>}
      <Tiles balance={balance} total={sum("", reply?.days ?? [])} currency={reply?.currency ?? ""} />
      {reply && reply.days.length === 0 && (
        <div class="panel empty-state">
          <h3>{t("noUsage")}</h3>
          <p>{t("noUsageText")}</p>
        </div>
      )}
      {reply && reply.days.length > 0 && (
        <>
          <Chart reply={reply} days={days} models={byModel.map(({ name }) => name)} />
          <SumTable title={t("byModel")} head={t("model")} sums={byModel} colors />
          {byKey.length > 1 && <SumTable title={t("byKey")} head={t("key")} sums={byKey} colors={false} />}
        </>
      )}
    </>
  );
}
