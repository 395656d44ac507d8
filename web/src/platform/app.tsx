/** The platform page: who is signed in, and the four sections. */
import { useEffect, useState } from "preact/hooks";
import { ApiError, get, type Info } from "../lib/api";
import { t, type Word } from "../lib/i18n";
import { Mark } from "../lib/icons";
import { prefs } from "../lib/prefs";
import { KeyForm, Notice, PageHeader } from "../lib/ui";
import { CodePage } from "./code";
import { KeysPage } from "./keys";
import { PricesPage } from "./prices";
import type { Account } from "./types";
import { UsagePage } from "./usage";

type Section = "usage" | "keys" | "prices" | "code";
const WORDS: Record<Section, Word> = {
  usage: "tabUsage",
  keys: "tabKeys",
  prices: "tabPrices",
  code: "tabCode",
};

function useSection(sections: Section[]): Section {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return sections.find((section) => `#${section}` === hash) ?? sections[0]!;
}

function SignIn({ onKey }: { onKey: (key: string, remember: boolean) => void }) {
  return (
    <section class="panel sign-in">
      <Mark />
      <h2>{t("signInTitle")}</h2>
      <p class="hint">{t("signInText")}</p>
      <KeyForm onDone={onKey} />
    </section>
  );
}

/** Who the stored key belongs to; asks again when `attempt` changes. */
function useMe(info: Info | null, attempt: number): { me: Account | null; failed: string; settled: boolean } {
  const [state, setState] = useState<{ me: Account | null; failed: string; settled: boolean }>({
    me: null,
    failed: "",
    settled: false,
  });
  const accounts = info?.accounts; // not `info`: another look at it, with the same answer, is no reason to ask again
  useEffect(() => {
    if (accounts === undefined) return;
    if (!accounts || !prefs.key()) {
      setState({ me: null, failed: "", settled: true });
      return;
    }
    get<Account>("/api/platform/me").then(
      (me) => setState({ me, failed: "", settled: true }),
      (error: Error) => {
        // A key of the command line administers but has no account.
        if (error instanceof ApiError && error.status === 404) {
          setState({ me: { id: "", name: t("serverKey"), role: "admin" }, failed: "", settled: true });
          return;
        }
        const refused = error instanceof ApiError && error.status === 401;
        if (refused) prefs.setKey("", false);
        setState({ me: null, failed: refused ? t("signInFailed") : error.message, settled: true });
      },
    );
  }, [accounts, attempt]);
  return state;
}

function useInfo(attempt: number): { info: Info | null; problem: string } {
  const [info, setInfo] = useState<Info | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    get<Info>("/api/info").then(setInfo, (error: Error) => {
      setProblem(error instanceof ApiError ? error.message : t("offline"));
    });
  }, [attempt]);
  return { info, problem };
}

function Sections({ info, me, attempt }: { info: Info; me: Account | null; attempt: () => void }) {
  const sections: Section[] = ["code"];
  if (info.accounts)
    sections.unshift("usage", ...(me?.role === "admin" ? (["keys"] as const) : []), "prices");
  const section = useSection(sections);
  return (
    <>
      {sections.length > 1 && (
        <nav class="tabs" aria-label={t("sections")}>
          {sections.map((name) => (
            <a key={name} href={`#${name}`} aria-current={name === section ? "true" : undefined}>
              {t(WORDS[name])}
            </a>
          ))}
        </nav>
      )}
      {!info.accounts && (
        <div class="notice info">
          <p>
            <strong>{t("accountsOff")}.</strong> {t("accountsOffText")}
          </p>
        </div>
      )}
      {section === "usage" && me && <UsagePage me={me} />}
      {section === "keys" && me && <KeysPage />}
      {section === "prices" && me && <PricesPage />}
      {section === "code" && <CodePage info={info} />}
      {section !== "code" && !me && (
        <SignIn
          onKey={(key, remember) => {
            prefs.setKey(key, remember);
            attempt();
          }}
        />
      )}
    </>
  );
}

export function PlatformApp() {
  const [attempt, setAttempt] = useState(0);
  const again = () => setAttempt((n) => n + 1);
  const { info, problem } = useInfo(attempt);
  const { me, failed, settled } = useMe(info, attempt);
  return (
    <div class="page">
      <PageHeader here="platform">
        {me && (
          <>
            <span class="who" title={t("signedInAs", { name: me.name })}>
              {me.name}
            </span>
            <button
              type="button"
              class="button small"
              onClick={() => {
                prefs.setKey("", false);
                again();
              }}
            >
              {t("signOut")}
            </button>
          </>
        )}
      </PageHeader>
      <main>
        <div class="title-line">
          <h1>{t("platformTitle")}</h1>
        </div>
        {problem && <Notice kind="error">{problem}</Notice>}
        {failed && <Notice kind="error">{failed}</Notice>}
        {info && settled ? (
          <Sections info={info} me={me} attempt={again} />
        ) : (
          !problem && <p class="hint">{t("loading")}</p>
        )}
      </main>
    </div>
  );
}
