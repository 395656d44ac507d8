/** Accessibility in both colour schemes and two widths, with pictures. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { playPlatform, signIn } from "./account.mjs";
import { answer, changeInfo, delta, equal, reply, send } from "./steps.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ["violations"] }),
  );
  const found = violations.flatMap(({ id, nodes }) =>
    nodes.map(
      (node) => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary.replace(/\s+/g, " ").slice(0, 200)}`,
    ),
  );
  equal(found, [], what);
}

async function fits(page, what) {
  const { scroll, client } = await page.evaluate(() => ({
    scroll: document.documentElement.scrollWidth,
    client: innerWidth,
  }));
  assert.ok(scroll <= client, `${what}: ${scroll} pixels wide in ${client}`);
}

const FORMULA =
  "The *deepest* place is the **Challenger Deep**:\n\n$$p = \\rho g z$$\n\n```python\nprint(1025 * 9.81)  # Pa\n```\n\n> quoted\n\n| a | b |\n|--|--:|\n| 1 | `2` |\n";
const thought = {
  choices: [{ index: 0, delta: { reasoning_content: "A short thought." }, finish_reason: null }],
};
const usage = {
  choices: [],
  usage: { prompt_tokens: 40, completion_tokens: 50, prompt_cache_hit_tokens: 32 },
};

async function prepare(page) {
  await playPlatform(page);
  await changeInfo(page, { model: { thinking: "optional" }, auth: false, accounts: true });
  await reply(page, thought, delta(FORMULA), usage);
}

async function look(tools, name, options, narrow) {
  const check = async (page, what) => {
    await page.waitForTimeout(250); // transitions
    await fits(page, `${what} ${name}`);
    await accessible(page, `${what} ${name}`);
    await tools.shot(page, `${what}_${name}`);
  };
  const page = await tools.open("/", { ...options, signedOut: true, prepare });
  await page.locator(".model-line:not(:empty)").waitFor();
  await check(page, "welcome");
  await send(page, "How deep is the sea?");
  await answer(page);
  await page.getByRole("button", { name: "Answer again" }).click();
  await answer(page);
  await page.locator("details.thinking summary").click();
  await check(page, "chat");
  if (narrow) {
    await page.getByRole("button", { name: "Open the list of chats" }).click();
    await check(page, "sidebar");
    await page.locator(".sidebar").getByRole("button", { name: "Close the list of chats" }).click();
  }
  await page.locator(".chat-header").getByRole("button", { name: "Settings" }).click();
  await check(page, "settings");

  await page.goto(`${tools.base}/platform`);
  await check(page, "sign_in");
  await signIn(page);
  await page.getByText("41.50").waitFor();
  await check(page, "usage");
  for (const section of ["Keys", "Prices", "Code"]) {
    await page.getByRole("link", { name: section, exact: true }).click();
    await check(page, section.toLowerCase());
  }
  await page.goto(`${tools.base}/status`);
  await page.getByText("Live").waitFor();
  await check(page, "status");
}

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
export const looks_light = (tools) => look(tools, "light", { colorScheme: "light" }, false);
export const looks_dark = (tools) => look(tools, "dark", { colorScheme: "dark" }, false);
export const looks_phone_light = (tools) =>
  look(tools, "phone_light", { ...PHONE, colorScheme: "light" }, true);
export const looks_phone_dark = (tools) => look(tools, "phone_dark", { ...PHONE, colorScheme: "dark" }, true);

export async function looks_theme_and_language({ open, shot }) {
  const page = await open("/", { colorScheme: "light", signedOut: true });
  await page.locator(".welcome").waitFor();
  await page.getByRole("button", { name: "Colours: as the system" }).click();
  await page.getByRole("button", { name: "Colours: light" }).click();
  await page.getByRole("button", { name: "Colours: dark" }).waitFor();
  equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), "dark");
  await page.getByRole("button", { name: "切换到中文" }).click();
  await page.getByText("今天想聊点什么？").waitFor();
  await page.reload();
  await page.getByText("今天想聊点什么？").waitFor();
  equal(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dataset.theme]), [
    "zh-CN",
    "dark",
  ]);
  await accessible(page, "Chinese");
  await shot(page, "welcome_zh");
}
