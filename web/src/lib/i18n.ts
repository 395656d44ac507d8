/** The page's words in the user's language. */
import { en } from "./words_en";
import { zh } from "./words_zh";
import { prefs, type Language } from "./prefs";

export type Word = keyof typeof en;
export const WORDS: Record<Language, Record<Word, string>> = { en, zh };

let language: Language = "en";

export function setLanguage(next: Language): void {
  language = next;
}

export function currentLanguage(): Language {
  return language;
}

export function locale(): string {
  return language === "zh" ? "zh-CN" : "en";
}

/** The text of `word`, with {name} replaced by values. */
export function t(word: Word, values: Record<string, string | number> = {}): string {
  return WORDS[language][word].replace(/\{(\w+)\}/g, (hole, name: string) => String(values[name] ?? hole));
}

export function initLanguage(): void {
  language = prefs.language();
}
