/** What several tests do. */
import assert from "node:assert/strict";

export async function send(page, text) {
  await page.getByRole("textbox", { name: "Message", exact: true }).fill(text);
  await page.locator(".send:not(:disabled)").waitFor(); // the page knows its server
  await page.keyboard.press("Enter");
}

/** The last answer, once it is complete; it must not have failed. */
export async function answer(page) {
  await page.locator(".message.assistant").last().waitFor();
  await page.waitForFunction(() => !document.querySelector(".message.assistant[aria-busy=true]"), null, {
    timeout: 60_000,
  });
  const last = page.locator(".message.assistant").last();
  if ((await last.locator(".ending.error").count()) > 0)
    throw new Error(await last.locator(".ending.error").innerText());
  return last;
}

export const delta = (text) => ({ choices: [{ index: 0, delta: { content: text }, finish_reason: null }] });

/** Events in the place of the server's answer. */
export async function reply(page, ...chunks) {
  await page.route("**/v1/chat/completions", (route) => {
    const stop = { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
    const events = [...chunks, stop].map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("");
    return route.fulfill({ contentType: "text/event-stream", body: `${events}data: [DONE]\n\n` });
  });
}

/** Members of /api/info that are not the server's. */
export async function changeInfo(page, change) {
  await page.route("**/api/info", async (route) => {
    const response = await route.fetch().catch(() => null);
    if (!response) return route.abort().catch(() => {}); // the page is gone
    const info = await response.json();
    return route.fulfill({ json: { ...info, ...change, model: { ...info.model, ...change.model } } });
  });
}

export function equal(actual, expected, what) {
  assert.deepEqual(actual, expected, what);
}

/** Polls until `ask` gives a truthy value. */
export async function until(ask, what, ms = 10_000) {
  for (const end = Date.now() + ms; Date.now() < end; await new Promise((next) => setTimeout(next, 100))) {
    const value = await ask();
    if (value) return value;
  }
  throw new Error(`not within ${ms} ms: ${what}`);
}

/** Waits for the text of what `locator` finds: what a click sets off may still be on its way. */
export async function shows(locator, expected, what) {
  const end = Date.now() + 10_000;
  let text = await locator.innerText();
  for (; text !== expected && Date.now() < end; text = await locator.innerText()) {
    await new Promise((next) => setTimeout(next, 50));
  }
  equal(text, expected, what);
}
