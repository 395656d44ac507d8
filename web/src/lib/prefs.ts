/** What this browser remembers about its user, apart from chats: key, theme, language. */

export type Theme = "auto" | "light" | "dark";
export type Language = "en" | "zh";

const KEY = "hadal.key";
const THEME = "hadal.theme";
const LANGUAGE = "hadal.language";

function read(name: string): string {
  try {
    return sessionStorage.getItem(name) ?? localStorage.getItem(name) ?? "";
  } catch {
    return ""; // storage can be forbidden; then nothing is remembered
  }
}

function write(name: string, value: string, store: "local" | "session" = "local"): void {
  try {
    localStorage.removeItem(name);
    sessionStorage.removeItem(name);
    if (value) (store === "local" ? localStorage : sessionStorage).setItem(name, value);
  } catch {
    // as above
  }
}

export const prefs = {
  key: () => read(KEY),
  /** `remember`: until signed out; otherwise until the tab closes. */
  setKey: (key: string, remember: boolean) => write(KEY, key, remember ? "local" : "session"),
  keyIsRemembered: () => {
    try {
      return localStorage.getItem(KEY) !== null;
    } catch {
      return false;
    }
  },

  theme: (): Theme => {
    const theme = read(THEME);
    return theme === "light" || theme === "dark" ? theme : "auto";
  },
  setTheme: (theme: Theme) => {
    write(THEME, theme === "auto" ? "" : theme);
    applyTheme();
  },

  language: (): Language => {
    const language = read(LANGUAGE);
    if (language === "en" || language === "zh") return language;
    return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
  },
  setLanguage: (language: Language) => write(LANGUAGE, language),
};

export function applyTheme(): void {
  const theme = prefs.theme();
  const root = document.documentElement;
  if (theme === "auto") delete root.dataset["theme"];
  else root.dataset["theme"] = theme;
  root.lang = prefs.language() === "zh" ? "zh-CN" : "en";
}
