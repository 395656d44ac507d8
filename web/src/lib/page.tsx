/** Starts a page: language, theme, and a new drawing of everything when the language changes. */
import { render, type ComponentType } from "preact";
import { currentLanguage, initLanguage, t, type Word } from "./i18n";
import { applyTheme } from "./prefs";

export function startPage(App: ComponentType, title: Word): void {
  const root = document.getElementById("app");
  if (!root) return;
  const draw = () => {
    initLanguage();
    applyTheme();
    document.title = `${t(title)} · hadal`;
    render(<App key={currentLanguage()} />, root);
  };
  window.addEventListener("hadal-language", draw);
  draw();
}
