/** A browser's globals for what wants them; to be imported first. */
import { JSDOM } from "jsdom";

const { window } = new JSDOM("<!doctype html><div id=app></div>", { url: "http://localhost/" });
Object.assign(globalThis, {
  window,
  document: window.document,
  localStorage: window.localStorage,
  sessionStorage: window.sessionStorage,
  HTMLElement: window.HTMLElement,
});
export { window };
