/** Chatting: answers, stop, branches, history, files. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { answer, changeInfo, delta, equal, reply, send, shows, until } from "./steps.mjs";

export async function chat_answers_and_counts({ open }) {
  const page = await open();
  await send(page, "Once upon a time");
  const message = await answer(page);
  assert.ok((await message.locator(".markdown").innerText()).trim().length > 0, "the answer has text");
  assert.match(await message.locator(".stats").innerText(), /\d+ in[^]*\d+ out/);
  await shows(page.locator("h1"), "Once upon a time");
  assert.match(await page.locator(".context").innerText(), /%/);
}

/** Clicks Stop in the page itself, as soon as an answer has text: a small model would be done before a click from here. */
function stopAtFirstWord() {
  const observer = new MutationObserver(() => {
    if (!document.querySelector(".message.assistant .block")?.textContent) return;
    observer.disconnect();
    document.querySelector(".send.stop").click();
  });
  observer.observe(document.body, { subtree: true, childList: true, characterData: true });
}

export async function chat_stop_cancels_on_the_server({ open, base, key }) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const status = async () => (await fetch(`${base}/api/status`, { headers })).json();
  const page = await open();
  // An answer that does not end by itself for as long as the context allows.
  await page.route("**/v1/chat/completions", (route) =>
    route.continue({ postData: { ...route.request().postDataJSON(), ignore_eos: true, max_tokens: 450 } }),
  );
  let aborted = false;
  page.on("requestfailed", (request) => (aborted ||= request.url().endsWith("/completions")));
  const before = await status();
  await page.evaluate(stopAtFirstWord);
  await send(page, "Tell me a very long story");
  await until(() => aborted, "the request is cut off");
  const message = await answer(page);
  await message.getByText("Stopped.").waitFor();
  assert.ok((await message.locator(".markdown").innerText()).length > 0, "what came before stays");
  const after = await until(async () => {
    const now = await status();
    return now.running <= before.running && now;
  }, "the server has one request less");
  const generated = after.tokens.generated - before.tokens.generated;
  assert.ok(generated < 450, `the server went on for ${generated} tokens`);
}

export async function chat_edit_regenerate_and_branches({ open }) {
  const page = await open();
  await send(page, "A story about a dog");
  await answer(page);
  await page.getByRole("button", { name: "Answer again" }).click();
  let message = await answer(page);
  await shows(message.locator(".count"), "2/2");
  await message.getByRole("button", { name: "Previous version" }).click();
  await shows(page.locator(".message.assistant .count"), "1/2");

  await page.locator(".message.user").hover();
  await page.getByRole("button", { name: "Edit", exact: true }).click();
  await page.getByRole("textbox", { name: "Edit message" }).fill("A story about a cat");
  await page.locator(".editor").getByRole("button", { name: "Send" }).click();
  message = await answer(page);
  await shows(page.locator(".bubble"), "A story about a cat");
  await shows(page.locator(".message.user .count"), "2/2");
  equal(await message.locator(".count").count(), 0, "the new message has one answer");
  await page.locator(".message.user").getByRole("button", { name: "Previous version" }).click();
  await shows(page.locator(".bubble"), "A story about a dog");
  await shows(page.locator(".message.assistant .count"), "1/2", "the branch that was looked at");
}

export async function chat_history_survives_a_reload({ open }) {
  const page = await open();
  await send(page, "First chat");
  const text = await (await answer(page)).locator(".markdown").innerText();
  await page.reload();
  await page.locator(".message.assistant").waitFor();
  await shows(page.locator(".message.assistant .markdown"), text);
  await page.getByRole("button", { name: "New chat" }).click();
  await page.locator(".welcome").waitFor();
  await send(page, "Second chat");
  await answer(page);
  await page.locator(".history").getByRole("button", { name: "First chat", exact: true }).click();
  await shows(page.locator(".bubble"), "First chat");
  await page.getByRole("searchbox").fill("second");
  equal(await page.locator(".history .open").allInnerTexts(), ["Second chat"]);
  await page.locator(".history li").hover();
  await page.getByRole("button", { name: "Delete “Second chat”" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("searchbox").fill("");
  await until(async () => (await page.locator(".history .open").count()) === 1, "one chat is left");
}

export async function chat_goes_on_with_the_conversation({ open }) {
  const bodies = [];
  const page = await open("/", { prepare: (page) => reply(page, delta("yes")) });
  page.on(
    "request",
    (request) => request.url().endsWith("/completions") && bodies.push(request.postDataJSON()),
  );
  await page.getByRole("button", { name: "Settings" }).first().click();
  await page.getByLabel("System prompt").fill("Be brief.");
  await page.getByLabel("Temperature").fill("0.3");
  await page.getByLabel("Temperature").press("Tab");
  await page.getByRole("button", { name: "Close", exact: true }).click();
  await send(page, "One?");
  await answer(page);
  await send(page, "Two?");
  await until(() => bodies.length === 2, "two requests");
  equal(bodies[1].messages, [
    { role: "system", content: "Be brief." },
    { role: "user", content: "One?" },
    { role: "assistant", content: "yes" },
    { role: "user", content: "Two?" },
  ]);
  equal([bodies[1].temperature, bodies[1].stream, bodies[1].stream_options.include_usage], [0.3, true, true]);
  assert.ok(!("top_p" in bodies[1]), "an empty field is the server's default");
}

export async function chat_attaches_text_files({ open }) {
  let body;
  const page = await open("/", { prepare: (page) => reply(page, delta("seen")) });
  page.on("request", (request) => request.url().endsWith("/completions") && (body = request.postDataJSON()));
  const file = (name, buffer) => ({
    name,
    mimeType: "application/octet-stream",
    buffer: Buffer.from(buffer),
  });
  await page
    .locator("input[type=file]")
    .first()
    .setInputFiles([file("notes.txt", "a\nb\n"), file("x.bin", [0, 255, 0])]);
  await page.getByText("x.bin is not a text file in UTF-8.").waitFor();
  await send(page, "Summarise");
  await answer(page);
  equal(body.messages[0].content, "notes.txt\n```\na\nb\n```\n\nSummarise");
  await shows(page.locator(".file summary"), "notes.txt");
}

export async function chat_deep_think_switch({ open }) {
  let body;
  const thought = {
    choices: [{ index: 0, delta: { reasoning_content: "Let me see." }, finish_reason: null }],
  };
  const page = await open("/", {
    prepare: async (page) => {
      await changeInfo(page, { model: { thinking: "optional" } });
      await reply(page, thought, delta("Four."));
    },
  });
  page.on("request", (request) => request.url().endsWith("/completions") && (body = request.postDataJSON()));
  await page.getByRole("switch", { name: "DeepThink" }).click();
  await send(page, "2 + 2?");
  const message = await answer(page);
  equal(body.thinking, { type: "enabled" });
  const folded = message.locator("details.thinking");
  assert.match(await folded.locator("summary").innerText(), /^Thought for \d+ ms$/);
  equal(await folded.getAttribute("open"), null);
  await folded.locator("summary").click();
  await shows(folded.locator(".thoughts"), "Let me see.");
  await shows(message.locator(":scope > .markdown"), "Four.");
}

export async function chat_shows_errors_and_can_try_again({ open }) {
  const page = await open("/", {
    prepare: (page) =>
      page.route("**/v1/chat/completions", (route) =>
        route.fulfill({
          status: 503,
          headers: { "Retry-After": "7" },
          json: { error: { message: "The queue is full." } },
        }),
      ),
  });
  await send(page, "Hello");
  await page.getByRole("alert").getByText("The queue is full. Try again in 7 s.").waitFor();
  await page.unroute("**/v1/chat/completions");
  await reply(page, delta("now it works"));
  await page.getByRole("button", { name: "Answer again" }).click();
  await shows((await answer(page)).locator(".markdown"), "now it works");

  await page.unroute("**/v1/chat/completions");
  await reply(page, delta("half an"), { error: { message: "out of memory" } });
  await send(page, "More");
  await page.getByRole("alert").getByText("out of memory").waitFor();
  await shows(page.locator(".message.assistant .markdown").last(), "half an");
}

export async function chat_asks_for_a_key_when_it_needs_one({ open }) {
  const page = await open("/", {
    signedOut: true,
    prepare: (page) =>
      page.route("**/v1/chat/completions", (route) =>
        route.request().headers()["authorization"] === "Bearer sk-good"
          ? route.fulfill({
              contentType: "text/event-stream",
              body: `data: ${JSON.stringify({ choices: [{ delta: { content: "in" }, finish_reason: "stop" }] })}\n\ndata: [DONE]\n\n`,
            })
          : route.fulfill({ status: 401, json: { error: { message: "Authentication fails" } } }),
      ),
  });
  await page.route("**/api/info", (route) =>
    route.fulfill({
      json: {
        version: "0",
        model: { id: "m", context_length: 512, thinking: "none" },
        auth: true,
        accounts: false,
        defaults: {},
      },
    }),
  );
  await page.reload();
  await page.getByText("This server wants an API key.").waitFor();
  await page.getByLabel("API key").fill("sk-good");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("This server wants an API key.").waitFor({ state: "detached" });
  await send(page, "Hello");
  await shows((await answer(page)).locator(".markdown"), "in");
}

export async function chat_export_and_import({ open }) {
  const page = await open("/", { prepare: (page) => reply(page, delta("**bold** answer")) });
  await send(page, "Export me");
  await answer(page);
  await page.getByRole("button", { name: "Settings" }).first().click();
  const [file] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Export all" }).click(),
  ]);
  const json = readFileSync(await file.path(), "utf8");
  const [text] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "This chat as Markdown" }).click(),
  ]);
  equal(text.suggestedFilename(), "Export-me.md");
  assert.match(
    readFileSync(await text.path(), "utf8"),
    /^# Export me\n\n## User\n\nExport me\n\n## .*\n\n\*\*bold\*\* answer\n$/,
  );

  const other = await open();
  await other.getByRole("button", { name: "Settings" }).first().click();
  const picker = other.locator("input[accept*=json]");
  await picker.setInputFiles({ name: "chats.json", mimeType: "application/json", buffer: Buffer.from(json) });
  await other.getByText("Chats imported: 1").waitFor();
  await picker.setInputFiles({ name: "bad.json", mimeType: "application/json", buffer: Buffer.from("{}") });
  await other.getByText("Nothing was imported: not an export of hadal chats.").waitFor();
  await other.keyboard.press("Escape");
  await shows(other.locator(".message.assistant .markdown"), "bold answer");
}

export async function chat_keyboard({ open }) {
  const page = await open("/?q=sent%20by%20a%20link#nothing", {
    prepare: (page) => reply(page, delta("ok")),
  });
  await page.locator(".welcome").waitFor();
  equal(await page.locator(".message").count(), 0, "an address sends nothing");
  equal(await page.getByRole("textbox", { name: "Message", exact: true }).inputValue(), "");
  await page.getByRole("textbox", { name: "Message", exact: true }).pressSequentially("a");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("b");
  await page.keyboard.press("Enter");
  await answer(page);
  await shows(page.locator(".bubble"), "a\nb");
  await page.keyboard.press("Control+Shift+O");
  await page.locator(".welcome").waitFor();
  await page.keyboard.press("Control+k");
  equal(await page.evaluate(() => document.activeElement.id), "search");
  await page.keyboard.press("Control+,");
  await page.getByRole("dialog", { name: "Settings" }).waitFor();
}
