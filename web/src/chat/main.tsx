import { startPage } from "../lib/page";
import { initLanguage } from "../lib/i18n";
import { ChatApp } from "./app";
import { Session } from "./session";
import { Storage } from "./storage";

initLanguage();
const session = new Session(await Storage.open());
startPage(() => <ChatApp session={session} />, "navChat");
window.addEventListener("hashchange", () => void session.openFromAddress());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) void session.refreshTitles(); // another tab may have added some
});
await session.start();
