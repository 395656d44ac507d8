/** System prompt, sampling, the key, and chats as files. */
import { useRef, useState } from "preact/hooks";
import { t, type Word } from "../lib/i18n";
import { Icon } from "../lib/icons";
import { prefs } from "../lib/prefs";
import { Confirm, Dialog, download, KeyForm } from "../lib/ui";
import type { Session } from "./session";
import { exportJson, exportMarkdown, fileName, importJson } from "./transfer";
import { NO_SAMPLING, type Sampling } from "./tree";

interface Field {
  key: keyof Sampling;
  word: Word;
  min: number;
  max: number;
  step: number;
}

const FIELDS: Field[] = [
  { key: "temperature", word: "temperature", min: 0, max: 2, step: 0.05 },
  { key: "top_p", word: "topP", min: 0.01, max: 1, step: 0.01 },
  { key: "top_k", word: "topK", min: 1, max: 1000, step: 1 },
  { key: "min_p", word: "minP", min: 0, max: 1, step: 0.01 },
  { key: "max_tokens", word: "maxTokens", min: 1, max: 10_000_000, step: 1 },
  { key: "presence_penalty", word: "presencePenalty", min: -2, max: 2, step: 0.1 },
  { key: "frequency_penalty", word: "frequencyPenalty", min: -2, max: 2, step: 0.1 },
  { key: "seed", word: "seed", min: 0, max: 2 ** 31 - 1, step: 1 },
];

/** What was typed as a number within the field's range; null when empty or no number. */
function parse(field: Field, typed: string): number | null {
  const value = Number(typed);
  if (typed.trim() === "" || !Number.isFinite(value)) return null;
  const inside = Math.min(field.max, Math.max(field.min, value));
  return field.step === 1 ? Math.round(inside) : inside;
}

/** What is typed stays until the field is left; then it shows the number that it was taken as. */
function NumberField(props: {
  field: Field;
  value: number | null;
  fallback: string;
  onValue: (value: number | null) => void;
}) {
  const { field, value } = props;
  const [typed, setTyped] = useState<string | null>(null);
  return (
    <label>
      <span>{t(field.word)}</span>
      <input
        type="number"
        name={field.key}
        min={field.min}
        max={field.max}
        step={field.step === 1 ? 1 : "any"}
        placeholder={props.fallback}
        value={typed ?? value ?? ""}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          props.onValue(parse(field, event.currentTarget.value));
        }}
        onBlur={() => setTyped(null)}
      />
    </label>
  );
}

function SamplingFields({ session }: { session: Session }) {
  const { settings } = session.chat;
  const defaults: Partial<Record<keyof Sampling, number | null>> = session.info?.defaults ?? {};
  const changed = Object.values(settings.sampling).some((value) => value !== null);
  return (
    <fieldset>
      <legend>{t("sampling")}</legend>
      <p class="hint">{t("samplingHint")}</p>
      <div class="grid">
        {FIELDS.map((field) => (
          <NumberField
            key={field.key}
            field={field}
            value={settings.sampling[field.key]}
            fallback={defaults[field.key]?.toString() ?? t("default")}
            onValue={(value) =>
              session.changeSettings((now) => ({ ...now, sampling: { ...now.sampling, [field.key]: value } }))
            }
          />
        ))}
      </div>
      {changed && (
        <button
          type="button"
          class="button"
          onClick={() => session.changeSettings((now) => ({ ...now, sampling: { ...NO_SAMPLING } }))}
        >
          {t("resetSampling")}
        </button>
      )}
    </fieldset>
  );
}

function KeySection({ session }: { session: Session }) {
  const [key, setKey] = useState(prefs.key());
  if (!session.info?.auth && !key && session.trouble !== "key") return null;
  return (
    <fieldset>
      <legend>{t("apiKey")}</legend>
      {key ? (
        <div class="row">
          <code>
            {key.slice(0, 5)}…{key.slice(-4)}
          </code>
          <button
            type="button"
            class="button"
            onClick={() => {
              prefs.setKey("", false);
              setKey("");
              void session.loadInfo();
            }}
          >
            {t("forgetKey")}
          </button>
        </div>
      ) : (
        <KeyForm
          onDone={(entered, remember) => {
            prefs.setKey(entered, remember);
            setKey(entered);
            void session.loadInfo();
          }}
        />
      )}
    </fieldset>
  );
}

function Files({ session }: { session: Session }) {
  const [message, setMessage] = useState("");
  const [removing, setRemoving] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const load = async (file: File | undefined) => {
    if (!file) return;
    try {
      const chats = importJson(await file.text());
      await session.adopt(chats);
      setMessage(t("imported", { n: chats.length }));
    } catch (error) {
      setMessage(t("importFailed", { why: error instanceof Error ? error.message : String(error) }));
    }
  };
  const empty = Object.keys(session.chat.turns).length === 0;
  return (
    <fieldset>
      <legend>{t("chatFiles")}</legend>
      <p class="hint">{t("chatFilesHint")}</p>
      <div class="row">
        <button
          type="button"
          class="button"
          disabled={session.titles.length === 0}
          onClick={() =>
            void session.storage
              .all()
              .then((all) => download("hadal-chats.json", "application/json", exportJson(all)))
          }
        >
          <Icon name="download" /> {t("exportAll")}
        </button>
        <button
          type="button"
          class="button"
          disabled={empty}
          onClick={() =>
            download(fileName(session.chat.title, "md"), "text/markdown", exportMarkdown(session.chat))
          }
        >
          <Icon name="download" /> {t("exportMarkdown")}
        </button>
        <button type="button" class="button" onClick={() => picker.current?.click()}>
          <Icon name="upload" /> {t("import")}
        </button>
        <button
          type="button"
          class="button"
          disabled={session.titles.length === 0}
          onClick={() => setRemoving(true)}
        >
          <Icon name="trash" /> {t("deleteAll")}
        </button>
        <input
          ref={picker}
          class="hidden"
          type="file"
          accept="application/json,.json"
          tabIndex={-1}
          aria-hidden="true"
          onChange={(event) => {
            void load(event.currentTarget.files?.[0]);
            event.currentTarget.value = "";
          }}
        />
      </div>
      <p role="status">{message}</p>
      {removing && (
        <Confirm
          title={t("deleteAll")}
          text={t("deleteAllText")}
          action={t("deleteAll")}
          onYes={() => void session.removeAll()}
          onClose={() => setRemoving(false)}
        />
      )}
    </fieldset>
  );
}

const SHORTCUTS: [string, Word][] = [
  ["Enter", "keySend"],
  ["Shift Enter", "keyNewLine"],
  ["Esc", "keyStop"],
  ["Ctrl Shift O", "keyNewChat"],
  ["Ctrl K", "keySearch"],
  ["Ctrl ,", "keySettings"],
];

export function SettingsDialog({ session, onClose }: { session: Session; onClose: () => void }) {
  const { settings } = session.chat;
  return (
    <Dialog title={t("settings")} onClose={onClose} wide>
      <div class="stack">
        <label>
          <span>{t("systemPrompt")}</span>
          <textarea
            rows={4}
            name="system"
            placeholder={t("systemPlaceholder")}
            value={settings.system}
            onInput={(event) => {
              const system = event.currentTarget.value;
              session.changeSettings((now) => ({ ...now, system }));
            }}
          />
        </label>
        <SamplingFields session={session} />
        <KeySection session={session} />
        <Files session={session} />
        <fieldset>
          <legend>{t("keyboard")}</legend>
          <dl class="keys">
            {SHORTCUTS.map(([keys, word]) => (
              <div key={keys}>
                <dt>
                  {keys.split(" ").map((key) => (
                    <kbd key={key}>{key}</kbd>
                  ))}
                </dt>
                <dd>{t(word)}</dd>
              </div>
            ))}
          </dl>
        </fieldset>
        <p class="hint">
          hadal {session.info?.version ?? ""} · <a href="/assets/licenses.txt">{t("licences")}</a>
        </p>
      </div>
    </Dialog>
  );
}
