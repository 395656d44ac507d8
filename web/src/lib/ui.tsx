/** Small parts that all pages share. */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon, Mark, type IconName } from "./icons";
import { t, type Word } from "./i18n";
import { prefs, type Theme } from "./prefs";

export function IconButton(props: {
  icon: IconName;
  label: string;
  onClick: () => void;
  class?: string;
  disabled?: boolean;
  expanded?: boolean;
}) {
  return (
    <button
      type="button"
      class={`icon-button ${props.class ?? ""}`}
      aria-label={props.label}
      aria-expanded={props.expanded}
      title={props.label}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  );
}

export function Dialog(props: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  wide?: boolean;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => ref.current?.showModal(), []);
  return (
    <dialog
      ref={ref}
      class={props.wide ? "wide" : ""}
      aria-label={props.title}
      onClose={props.onClose}
      onClick={(event) => event.target === ref.current && ref.current?.close()}
    >
      <div class="dialog-body">
        <header>
          <h2>{props.title}</h2>
          <IconButton icon="close" label={t("close")} onClick={() => ref.current?.close()} />
        </header>
        {props.children}
      </div>
    </dialog>
  );
}

export function Confirm(props: {
  title: string;
  text: string;
  action: string;
  onYes: () => void;
  onClose: () => void;
}) {
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <p>{props.text}</p>
      <div class="actions">
        <button type="button" class="button" onClick={props.onClose}>
          {t("cancel")}
        </button>
        <button
          type="button"
          class="button danger"
          onClick={() => {
            props.onClose();
            props.onYes();
          }}
        >
          {props.action}
        </button>
      </div>
    </Dialog>
  );
}

/** Copies and says so on the button for a moment. */
export function CopyButton(props: { text: () => string; label?: string; class?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  const label = copied ? t("copied") : (props.label ?? t("copy"));
  return (
    <IconButton
      icon={copied ? "check" : "copy"}
      label={label}
      class={props.class}
      onClick={() => void copyText(props.text()).then(() => setCopied(true))}
    />
  );
}

/** The clipboard needs a secure context; a page from another machine by plain HTTP gets the old way. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden";
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function download(name: string, type: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const THEMES: Record<Theme, { icon: IconName; word: Word; next: Theme }> = {
  auto: { icon: "auto", word: "themeAuto", next: "light" },
  light: { icon: "sun", word: "themeLight", next: "dark" },
  dark: { icon: "moon", word: "themeDark", next: "auto" },
};

export function ThemeButton() {
  const [theme, setTheme] = useState(prefs.theme());
  const { icon, word, next } = THEMES[theme];
  return (
    <IconButton
      icon={icon}
      label={t(word)}
      onClick={() => {
        prefs.setTheme(next);
        setTheme(next);
        window.dispatchEvent(new Event("hadal-theme"));
      }}
    />
  );
}

export function LanguageButton() {
  const next = prefs.language() === "zh" ? "en" : "zh";
  return (
    <button
      type="button"
      class="icon-button language"
      lang={next === "zh" ? "zh-CN" : "en"}
      aria-label={next === "zh" ? "切换到中文" : "Switch to English"}
      onClick={() => {
        prefs.setLanguage(next);
        window.dispatchEvent(new Event("hadal-language"));
      }}
    >
      {next === "zh" ? "中" : "EN"}
    </button>
  );
}

type Page = "chat" | "platform" | "status";
const PAGES: { page: Page; href: string; word: Word }[] = [
  { page: "chat", href: "/", word: "navChat" },
  { page: "platform", href: "/platform", word: "navPlatform" },
  { page: "status", href: "/status", word: "navStatus" },
];

export function Nav({ here }: { here: Page }) {
  return (
    <nav class="pages" aria-label={t("pages")}>
      {PAGES.map(({ page, href, word }) => (
        <a key={page} href={href} aria-current={page === here ? "page" : undefined}>
          {t(word)}
        </a>
      ))}
    </nav>
  );
}

export function Brand() {
  return (
    <a class="brand" href="/" aria-label={t("brandLabel")}>
      <Mark />
      <span>hadal</span>
    </a>
  );
}

export function PageHeader({ here, children }: { here: Page; children?: ComponentChildren }) {
  return (
    <header class="page-header">
      <Brand />
      <Nav here={here} />
      <div class="spacer" />
      {children}
      <LanguageButton />
      <ThemeButton />
    </header>
  );
}

/** For the key of a server that wants one. */
export function KeyForm({ onDone }: { onDone: (key: string, remember: boolean) => void }) {
  const [key, setKey] = useState("");
  const [remember, setRemember] = useState(true);
  return (
    <form
      class="key-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (key.trim()) onDone(key.trim(), remember);
      }}
    >
      <label>
        <span>{t("apiKey")}</span>
        <input
          type="password"
          name="api-key"
          autocomplete="current-password"
          spellcheck={false}
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
          placeholder="sk-…"
        />
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={remember}
          onChange={(event) => setRemember(event.currentTarget.checked)}
        />
        <span>{t("rememberKey")}</span>
      </label>
      <button type="submit" class="button primary" disabled={!key.trim()}>
        {t("signIn")}
      </button>
    </form>
  );
}

export function Notice({ kind, children }: { kind: "error" | "info"; children: ComponentChildren }) {
  return (
    <div class={`notice ${kind}`} role={kind === "error" ? "alert" : "status"}>
      {children}
    </div>
  );
}
