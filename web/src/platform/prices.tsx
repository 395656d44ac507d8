import { useEffect, useState } from "preact/hooks";
import { get } from "../lib/api";
import { shortDecimal } from "../lib/decimal";
import { t } from "../lib/i18n";
import { Notice } from "../lib/ui";
import type { Prices } from "./types";

export function PricesPage() {
  const [prices, setPrices] = useState<Prices | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    get<Prices>("/api/platform/prices").then(setPrices, (error: Error) => setProblem(error.message));
  }, []);
  if (problem) return <Notice kind="error">{problem}</Notice>;
  if (!prices) return <p class="hint">{t("loading")}</p>;
  if (prices.models.length === 0) return <p class="panel empty-state">{t("noPrices")}</p>;
  return (
    <section class="panel">
      <p class="hint">{t("pricesText", { currency: prices.currency })}</p>
      <div class="table-frame" tabIndex={0} role="group" aria-label={t("tabPrices")}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t("model")}</th>
              <th scope="col" class="number">
                {t("inputHit")}
              </th>
              <th scope="col" class="number">
                {t("inputMiss")}
              </th>
              <th scope="col" class="number">
                {t("output")}
              </th>
            </tr>
          </thead>
          <tbody>
            {prices.models.map((row) => (
              <tr key={row.model}>
                <th scope="row">{row.model}</th>
                <td class="number">{shortDecimal(row.cache_hit)}</td>
                <td class="number">{shortDecimal(row.cache_miss)}</td>
                <td class="number">{shortDecimal(row.output)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
