/** The keys of the server, for admins. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { get, post } from "../lib/api";
import { shortDecimal } from "../lib/decimal";
import { integer } from "../lib/format";
import { locale, t, type Word } from "../lib/i18n";
import { Icon } from "../lib/icons";
import { Confirm, CopyButton, Dialog, Notice } from "../lib/ui";
import type { KeyInfo, Limits } from "./types";

const LIMITS: [keyof Limits, Word][] = [
  ["requests_per_minute", "requestsPerMinute"],
  ["tokens_per_minute", "tokensPerMinute"],
  ["concurrent_requests", "concurrentRequests"],
  ["monthly_tokens", "monthlyTokens"],
];

function date(seconds: number): string {
  return new Date(seconds * 1000).toLocaleDateString(locale());
}

function limitsText(key: KeyInfo): string {
  const parts = LIMITS.flatMap(([name, word]) => {
    const limit = key[name];
    return limit === null ? [] : [`${t(word)}: ${integer(limit)}`];
  });
  if (key.models.length > 0) parts.push(`${t("model")}: ${key.models.join(", ")}`);
  if (key.expires !== null) parts.push(t("until", { date: date(key.expires) }));
  return parts.join(" · ") || t("noLimits");
}

/** What a form's fields say of a key; empty: no limit. */
function wanted(name: string, role: string, limits: Record<string, string>): Record<string, unknown> {
  const numbers = LIMITS.map(([limit]) => [limit, limits[limit] ? Number(limits[limit]) : null]);
  return { name: name.trim(), role, ...Object.fromEntries(numbers) };
}

/** A new key, or other limits for one that there is: then only what is changed is sent. */
function KeyForm(props: { of?: KeyInfo; onDone: (secret?: string) => void; onClose: () => void }) {
  const { of } = props;
  const [name, setName] = useState(of?.name ?? "");
  const [role, setRole] = useState<string>(of?.role ?? "user");
  const [limits, setLimits] = useState<Record<string, string>>(() =>
    Object.fromEntries(LIMITS.map(([limit]) => [limit, String(of?.[limit] ?? "")])),
  );
  const [balance, setBalance] = useState("");
  const [problem, setProblem] = useState("");
  const save = async () => {
    const fields = wanted(name, role, limits);
    try {
      if (of) {
        const changed = Object.entries(fields).filter(([field, value]) => value !== of[field as keyof KeyInfo]);
        await post(`/api/platform/keys/${encodeURIComponent(of.id)}/update`, Object.fromEntries(changed));
        props.onDone();
      } else {
        const money = balance.trim() === "" ? {} : { balance: balance.trim() };
        props.onDone((await post<{ secret: string }>("/api/platform/keys", { ...fields, ...money })).secret);
      }
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <Dialog title={of ? t("editKey", { name: of.name }) : t("createKey")} onClose={props.onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        {problem && <Notice kind="error">{problem}</Notice>}
        <label>
          <span>{t("name")}</span>
          <input
            name="name"
            required
            maxLength={100}
            value={name}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        <label>
          <span>{t("role")}</span>
          <select name="role" value={role} onChange={(event) => setRole(event.currentTarget.value)}>
            <option value="user">{t("roleUser")}</option>
            <option value="admin">{t("roleAdmin")}</option>
          </select>
        </label>
        <fieldset>
          <legend>{t("limits")}</legend>
          <p class="hint">{t("limitsText")}</p>
          <div class="grid">
            {LIMITS.map(([key, word]) => (
              <label key={key}>
                <span>{t(word)}</span>
                <input
                  type="number"
                  name={key}
                  min={1}
                  step={1}
                  value={limits[key] ?? ""}
                  onInput={(event) => setLimits({ ...limits, [key]: event.currentTarget.value })}
                />
              </label>
            ))}
            {!of && (
              <label>
                <span>{t("balance")}</span>
                <input
                  name="balance"
                  inputMode="decimal"
                  pattern="[0-9]+([.][0-9]{1,6})?"
                  placeholder="10.00"
                  value={balance}
                  onInput={(event) => setBalance(event.currentTarget.value)}
                />
              </label>
            )}
          </div>
        </fieldset>
        <div class="actions">
          <button type="submit" class="button primary" disabled={!name.trim()}>
            {t(of ? "save" : "create")}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Secret({ secret, onClose }: { secret: string; onClose: () => void }) {
  return (
    <Dialog title={t("secretTitle")} onClose={onClose}>
      <p>{t("secretText")}</p>
      <p class="secret">
        <code>{secret}</code>
        <CopyButton text={() => secret} />
      </p>
      <div class="actions">
        <button type="button" class="button primary" onClick={onClose}>
          {t("secretCopied")}
        </button>
      </div>
    </Dialog>
  );
}

type Asking =
  | { what: "revoke" | "rotate"; key: KeyInfo }
  | { what: "update"; key: KeyInfo }
  | { what: "create" }
  | null;

function KeyTable({ keys, ask }: { keys: KeyInfo[]; ask: (asking: Asking) => void }) {
  return (
    <div class="table-frame" tabIndex={0} role="group" aria-label={t("tabKeys")}>
      <table>
        <thead>
          <tr>
            <th scope="col">{t("name")}</th>
            <th scope="col">{t("role")}</th>
            <th scope="col">{t("created")}</th>
            <th scope="col">{t("limits")}</th>
            <th scope="col" class="number">
              {t("balance")}
            </th>
            <th scope="col">{t("state")}</th>
            <td />
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => (
            <tr key={key.id} class={key.revoked ? "revoked" : ""}>
              <th scope="row">
                {key.name} <code class="id">{key.id}</code>
              </th>
              <td>{t(key.role === "admin" ? "roleAdmin" : "roleUser")}</td>
              <td>{date(key.created)}</td>
              <td>{limitsText(key)}</td>
              <td class="number">{key.balance === null ? t("unlimited") : shortDecimal(key.balance)}</td>
              <td>
                <span class={`badge ${key.revoked ? "off" : "on"}`}>
                  {t(key.revoked ? "revoked" : "active")}
                </span>
              </td>
              <td class="row-tools">
                {!key.revoked && (
                  <>
                    <button
                      type="button"
                      class="button small"
                      aria-label={t("editKey", { name: key.name })}
                      onClick={() => ask({ what: "update", key })}
                    >
                      {t("edit")}
                    </button>
                    <button
                      type="button"
                      class="button small"
                      aria-label={t("rotateKey", { name: key.name })}
                      onClick={() => ask({ what: "rotate", key })}
                    >
                      {t("rotate")}
                    </button>
                    <button
                      type="button"
                      class="button small"
                      aria-label={t("revokeKey", { name: key.name })}
                      onClick={() => ask({ what: "revoke", key })}
                    >
                      {t("revoke")}
                    </button>
                  </>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function KeysPage() {
  const [keys, setKeys] = useState<KeyInfo[] | null>(null);
  const [problem, setProblem] = useState("");
  const [asking, ask] = useState<Asking>(null);
  const [secret, setSecret] = useState("");
  const load = useCallback(() => {
    get<{ keys: KeyInfo[] }>("/api/platform/keys").then(
      (reply) => setKeys(reply.keys),
      (error: Error) => setProblem(error.message),
    );
  }, []);
  useEffect(load, []);
  const act = async (what: "revoke" | "rotate", key: KeyInfo) => {
    setProblem("");
    try {
      const reply = await post<{ secret?: string }>(
        `/api/platform/keys/${encodeURIComponent(key.id)}/${what}`,
        {},
      );
      if (what === "rotate" && reply.secret) setSecret(reply.secret);
    } catch (error) {
      setProblem((error as Error).message);
    }
    load();
  };
  return (
    <section class="panel">
      <header>
        <p class="hint">{t("keysText")}</p>
        <div class="spacer" />
        <button type="button" class="button primary" onClick={() => ask({ what: "create" })}>
          <Icon name="plus" /> {t("createKey")}
        </button>
      </header>
      {problem && <Notice kind="error">{problem}</Notice>}
      {!keys && !problem && <p class="hint">{t("loading")}</p>}
      {keys && keys.length === 0 && <p class="empty-state">{t("noKeys")}</p>}
      {keys && keys.length > 0 && <KeyTable keys={keys} ask={ask} />}
      {(asking?.what === "create" || asking?.what === "update") && (
        <KeyForm
          of={asking.what === "update" ? asking.key : undefined}
          onClose={() => ask(null)}
          onDone={(made) => {
            ask(null);
            setSecret(made ?? "");
            load();
          }}
        />
      )}
      {(asking?.what === "revoke" || asking?.what === "rotate") && (
        <Confirm
          title={t(asking.what === "revoke" ? "revokeKey" : "rotateKey", { name: asking.key.name })}
          text={t(asking.what === "revoke" ? "revokeText" : "rotateText", { name: asking.key.name })}
          action={t(asking.what)}
          onYes={() => void act(asking.what, asking.key)}
          onClose={() => ask(null)}
        />
      )}
      {secret && <Secret secret={secret} onClose={() => setSecret("")} />}
    </section>
  );
}
