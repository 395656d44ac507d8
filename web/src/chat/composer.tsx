/** Where a message is written: text, files, the DeepThink switch, send and stop. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../lib/i18n";
import { Icon } from "../lib/icons";
import { IconButton } from "../lib/ui";
import { FileError, readFile } from "./files";
import type { Session } from "./session";
import { shownPath, type Attachment } from "./tree";

const TALLEST = 220; // pixels; then the text scrolls

function useAutoHeight(text: string) {
  const ref = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    const area = ref.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, TALLEST)}px`;
  }, [text]);
  return ref;
}

function Chips({ files, onRemove }: { files: Attachment[]; onRemove: (index: number) => void }) {
  if (files.length === 0) return null;
  return (
    <ul class="chips" aria-label={t("attachedFiles")}>
      {files.map((file, i) => (
        <li key={i}>
          <Icon name="file" />
          <span>{file.name}</span>
          <IconButton icon="close" label={t("removeFile", { name: file.name })} onClick={() => onRemove(i)} />
        </li>
      ))}
    </ul>
  );
}

function DeepThink({ session }: { session: Session }) {
  const mode = session.info?.model.thinking ?? "none";
  if (mode === "none") return null;
  const { settings } = session.chat;
  const on = mode === "always" || settings.thinking;
  return (
    <button
      type="button"
      class="toggle"
      role="switch"
      aria-checked={on}
      disabled={mode === "always"}
      title={t(mode === "always" ? "alwaysThinks" : "deepThinkHint")}
      onClick={() => session.changeSettings((now) => ({ ...now, thinking: !now.thinking }))}
    >
      <Icon name="think" />
      DeepThink
    </button>
  );
}

export function Composer({ session, draft }: { session: Session; draft: string }) {
  const [text, setText] = useState(draft);
  const [files, setFiles] = useState<Attachment[]>([]);
  const [problem, setProblem] = useState("");
  const area = useAutoHeight(text);
  const picker = useRef<HTMLInputElement>(null);
  const busy = session.running !== null;
  const ready = !busy && session.info !== null && (text.trim() !== "" || files.length > 0);

  useEffect(() => {
    if (draft) setText(draft);
    // A phone's keyboard would cover what is to be read.
    if (matchMedia("(min-width: 800px)").matches) area.current?.focus();
  }, [session.chat.id, draft]);

  const send = () => {
    if (!ready) return;
    session.send(shownPath(session.chat).at(-1)?.id ?? null, text.trim(), files);
    setText("");
    setFiles([]);
    setProblem("");
  };
  const attach = async (list: FileList | null | undefined) => {
    setProblem("");
    // A copy: the list is the input's own and empties with it.
    for (const file of [...(list ?? [])]) {
      try {
        const read = await readFile(file);
        setFiles((before) => [...before, read]);
      } catch (error) {
        setProblem(error instanceof FileError ? error.message : t("fileUnreadable", { name: file.name }));
      }
    }
  };

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        void attach(event.dataTransfer?.files);
      }}
    >
      <Chips files={files} onRemove={(index) => setFiles(files.filter((_, i) => i !== index))} />
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      <textarea
        ref={area}
        id="message"
        rows={1}
        aria-label={t("message")}
        placeholder={t("messagePlaceholder")}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          // While an input method composes, Enter takes its suggestion.
          if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
          event.preventDefault();
          send();
        }}
        onPaste={(event) => {
          if (event.clipboardData && event.clipboardData.files.length > 0)
            void attach(event.clipboardData.files);
        }}
      />
      <div class="bar">
        <input
          ref={picker}
          class="hidden"
          type="file"
          multiple
          tabIndex={-1}
          aria-hidden="true"
          onChange={(event) => {
            void attach(event.currentTarget.files);
            event.currentTarget.value = "";
          }}
        />
        <IconButton icon="attach" label={t("attach")} onClick={() => picker.current?.click()} />
        <DeepThink session={session} />
        <div class="spacer" />
        {busy ? (
          <button
            type="button"
            class="send stop"
            aria-label={t("stop")}
            title={t("stop")}
            onClick={() => session.stop()}
          >
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" class="send" aria-label={t("send")} title={t("send")} disabled={!ready}>
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}
