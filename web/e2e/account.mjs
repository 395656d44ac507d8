/** A platform that the test plays: an admin with two keys, and usage. */
import { changeInfo } from "./steps.mjs";

const day = (back) => new Date(Date.now() - back * 86_400_000).toISOString().slice(0, 10);
const row = (back, model, key, requests) => ({
  day: day(back),
  model,
  key: `id-${key}`,
  name: key,
  requests,
  prompt_cache_hit_tokens: requests * 100,
  prompt_cache_miss_tokens: requests * 50,
  completion_tokens: requests * 30,
  cost: (requests * 0.1).toFixed(3),
});

/** A server with accounts and one admin, whose key is sk-admin. */
export async function playPlatform(page) {
  const none = {
    models: [],
    requests_per_minute: null,
    tokens_per_minute: null,
    concurrent_requests: null,
    monthly_tokens: null,
    balance: null,
    expires: null,
  };
  const keys = [
    { id: "k1", name: "root", role: "admin", created: 1767323045, revoked: null, ...none, balance: null },
    {
      id: "k2",
      name: "jobs",
      role: "user",
      created: 1767409445,
      revoked: null,
      ...none,
      requests_per_minute: 60,
      balance: "1.500000",
    },
  ];
  await changeInfo(page, { auth: true, accounts: true });
  const answers = {
    "/api/platform/me": () => ({ id: "k1", name: "root", role: "admin" }),
    "/user/balance": () => ({
      is_available: true,
      balance_infos: [
        { currency: "USD", total_balance: "41.500000", granted_balance: "0", topped_up_balance: "41.5" },
      ],
    }),
    "/api/platform/usage": (url) => ({
      currency: "USD",
      days: [
        ...Array.from({ length: 25 }, (_, i) => row(i, "deepseek-v3", "root", 10 + ((i * 7) % 11))),
        ...Array.from({ length: 12 }, (_, i) => row(i * 2, "tiny-chat", "root", 4 + (i % 5))),
        ...(url.searchParams.has("all") ? [row(1, "tiny-chat", "jobs", 9)] : []),
      ],
    }),
    "/api/platform/prices": () => ({
      currency: "USD",
      models: [{ model: "deepseek-v3", cache_hit: "0.07", cache_miss: "0.27", output: "1.10" }],
    }),
    "/api/platform/keys": (_, body) => {
      if (!body) return { keys };
      keys.push({
        id: "k3",
        name: body.name,
        role: body.role,
        created: 1769904000,
        revoked: null,
        ...none,
        ...body,
      });
      return { id: "k3", secret: "sk-secret-once" };
    },
    "/api/platform/keys/k2/update": (_, body) => Object.assign(keys[1], body),
    "/api/platform/keys/k2/revoke": () => ((keys[1].revoked = 1770000000), {}),
    "/api/platform/keys/k2/rotate": () => ({ id: "k2", secret: "sk-rotated" }),
  };
  const handle = (route) => {
    const url = new URL(route.request().url());
    if (route.request().headers()["authorization"] !== "Bearer sk-admin") {
      return route.fulfill({ status: 401, json: { error: { message: "Authentication fails" } } });
    }
    if (url.searchParams.get("format") === "csv")
      return route.fulfill({ contentType: "text/csv", body: "day,key\r\n" });
    return route.fulfill({ json: answers[url.pathname](url, route.request().postDataJSON()) });
  };
  await page.route("**/api/platform/**", handle);
  await page.route("**/user/balance", handle);
}

export async function signIn(page) {
  await page.getByLabel("API key").fill("sk-admin");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
}
