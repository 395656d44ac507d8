// The pages in a real browser, against a running server:
//
//   node e2e/run.mjs URL [--key KEY] [--shots FOLDER] [--only WORD]
//
// What a model cannot be made to say (attacks, thoughts, formulas) and a platform without accounts are
// answered by the test in the server's place; everything else is the server's. CHROMIUM names the browser.
import { mkdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import * as chat from "./chat.mjs";
import * as content from "./content.mjs";
import * as looks from "./looks.mjs";
import * as platform from "./platform.mjs";
import * as status from "./status.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { key: { type: "string" }, shots: { type: "string" }, only: { type: "string", default: "" } },
});
const base = positionals[0]?.replace(/\/$/, "");
if (!base) throw new Error("usage: node e2e/run.mjs URL [--key KEY] [--shots FOLDER] [--only WORD]");
if (values.shots) mkdirSync(values.shots, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

/** A fresh browser profile; whatever the page did that it must not do goes to `problems`. */
async function open(problems, options) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    locale: "en-US",
    ...options,
  });
  context.setDefaultTimeout(15_000);
  await context.exposeBinding("reportProblem", (_, text) => problems.push(text));
  await context.addInitScript(
    (key) => {
      addEventListener("securitypolicyviolation", (event) => {
        globalThis.reportProblem(
          `policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`,
        );
      });
      globalThis.alert = (text) => globalThis.reportProblem(`script ran: ${text}`);
      if (key && !sessionStorage.getItem("test.started")) {
        sessionStorage.setItem("test.started", "1");
        localStorage.setItem("hadal.key", key);
      }
    },
    options?.signedOut ? "" : (values.key ?? ""),
  );
  const page = await context.newPage();
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol.startsWith("http") && origin !== new URL(base).origin)
      problems.push(`request to ${request.url()}`);
  });
  return page;
}

let failures = 0;
const tests = Object.entries({ ...chat, ...content, ...platform, ...status, ...looks });
for (const [name, test] of tests.filter(([name]) => name.includes(values.only))) {
  const problems = [];
  const pages = [];
  const tools = {
    base,
    key: values.key,
    open: async (path = "/", options) => {
      const page = await open(problems, options);
      pages.push(page);
      if (options?.prepare) await options.prepare(page);
      await page.goto(base + path);
      return page;
    },
    shot: (page, file) => values.shots && page.screenshot({ path: `${values.shots}/${file}.png` }),
  };
  const started = Date.now();
  try {
    await test(tools);
  } catch (error) {
    problems.push(error.stack ?? String(error));
    if (values.shots && pages[0])
      await pages[0].screenshot({ path: `${values.shots}/failed_${name}.png` }).catch(() => {});
  }
  for (const page of pages) await page.context().close();
  if (problems.length > 0) failures++;
  console.log(`${problems.length > 0 ? "FAILED" : "ok    "} ${name} (${Date.now() - started} ms)`);
  for (const problem of problems) console.log(`       ${problem}`);
}
await browser.close();
console.log(failures === 0 ? "all passed" : `${failures} failed`);
process.exit(failures === 0 ? 0 : 1);
