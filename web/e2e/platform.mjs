/** The platform page: as the server has it, and with an account that the test plays. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { playPlatform, signIn } from "./account.mjs";
import { equal, until } from "./steps.mjs";

export async function platform_code_works_as_shown({ open, base }) {
  const page = await open("/platform#code");
  for (const name of ["curl", "Python", "LangChain", "JavaScript"]) {
    await page.getByRole("button", { name, exact: true }).click();
    assert.ok((await page.locator(".snippet code").innerText()).includes(`${base}/v1`), name);
  }
}

export async function platform_signs_in_with_a_key({ open, base, key }) {
  const info = await (
    await fetch(`${base}/api/info`, { headers: key ? { Authorization: `Bearer ${key}` } : {} })
  ).json();
  if (!info.accounts || !key) return; // nothing to sign in to
  const page = await open("/platform", { signedOut: true });
  await page.getByLabel("API key").fill("sk-wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("The server refused this key.").waitFor();
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Balance" }).waitFor();
  await page.getByRole("link", { name: "Prices" }).click();
  await page.locator(".panel").first().waitFor();
  await page.reload();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
}

/** With a key of an admin; its limit is gone again at the end. */
export async function platform_changes_a_key_of_the_server({ open, base, key }) {
  const me = await fetch(`${base}/api/platform/me`, { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  const { id, role } = me.ok ? await me.json() : {};
  if (role !== "admin") return;
  const page = await open("/platform#keys");
  const row = page.getByRole("row").filter({ hasText: id });
  for (const [tokens, shown] of [
    ["123456789012", 1],
    ["", 0],
  ]) {
    await row.getByRole("button", { name: /^Edit / }).click();
    await page.getByLabel("Tokens a month").fill(tokens);
    await page.getByRole("button", { name: "Save" }).click();
    await until(
      async () => (await row.getByText("Tokens a month: 123,456,789,012").count()) === shown,
      `the limit is ${tokens || "gone"}`,
    );
  }
}

export async function platform_usage_by_day_and_model({ open, shot }) {
  const page = await open("/platform", { signedOut: true, prepare: playPlatform });
  await page.getByLabel("API key").fill("sk-nobody");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("The server refused this key.").waitFor();
  await signIn(page);
  await page.getByText("41.50").waitFor();
  await page.getByRole("img", { name: "Tokens per day" }).waitFor();
  equal(await page.locator("tbody th").allInnerTexts(), ["deepseek-v3", "tiny-chat"]);
  await shot(page, "platform_usage");
  await page.getByLabel("All keys").check();
  await page.getByRole("heading", { name: "By key" }).waitFor();
  await page.getByRole("button", { name: "Cost" }).click();
  await page.getByRole("img", { name: "Cost per day" }).waitFor();
  const [file] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Export CSV" }).click(),
  ]);
  equal(readFileSync(await file.path(), "utf8"), "day,key\r\n");
}

export async function platform_keys_for_admins({ open, shot }) {
  const page = await open("/platform", { signedOut: true, prepare: playPlatform });
  await signIn(page);
  await page.getByRole("link", { name: "Keys" }).click();
  await page.getByRole("button", { name: "New key" }).click();
  await page.getByLabel("Name").fill("laptop");
  await page.getByLabel("Requests a minute").fill("30");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByText("sk-secret-once").waitFor();
  await page.getByRole("button", { name: "I have copied it" }).click();
  await page.getByRole("row", { name: /laptop.*Requests a minute: 30/ }).waitFor();
  await page.getByRole("button", { name: "Edit jobs" }).click();
  equal(await page.getByLabel("Requests a minute").inputValue(), "60");
  await page.getByLabel("Requests a minute").fill("");
  await page.getByLabel("Tokens a month").fill("5000");
  const [change] = await Promise.all([
    page.waitForRequest("**/api/platform/keys/k2/update"),
    page.getByRole("button", { name: "Save" }).click(),
  ]);
  equal(change.postDataJSON(), { requests_per_minute: null, monthly_tokens: 5000 }, "only what is changed");
  await page.getByRole("row", { name: /jobs.*Tokens a month: 5,000/ }).waitFor();
  equal(await page.getByText("Requests a minute: 60").count(), 0, "the limit is gone");
  await page.getByRole("button", { name: "Replace the secret of jobs" }).click();
  await page.getByRole("button", { name: "Replace", exact: true }).click();
  await page.getByText("sk-rotated").waitFor();
  await page.keyboard.press("Escape");
  await shot(page, "platform_keys");
  await page.getByRole("button", { name: "Revoke jobs" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke", exact: true }).click();
  await until(async () => (await page.locator(".badge.off").count()) === 1, "jobs is revoked");
  equal(await page.getByText("sk-secret-once").count(), 0, "a secret is shown once");
}
