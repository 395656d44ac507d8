/** The status page. */
import assert from "node:assert/strict";
import { until } from "./steps.mjs";

export async function status_shows_what_the_server_does({ open }) {
  const page = await open("/status");
  await page.getByText("Live").waitFor();
  for (const name of [
    "Running",
    "Waiting",
    "Generation",
    "Prompt",
    "Cache pages",
    "Prefix cache",
    "Speculation",
  ]) {
    await page.locator(".tile").getByRole("heading", { name, exact: true }).waitFor();
  }
  await page.getByRole("img", { name: /Chart of tokens per second/ }).waitFor();
}

export async function status_expert_map_is_drawn_from_counts({ open, shot }) {
  const status = {
    uptime_s: 5000,
    running: 2,
    waiting: 0,
    max_num_seqs: 16,
    max_queued: 64,
    kv_pages: { total: 512, used: 130, cached: 90, page_size: 64 },
    prefix_cache: { query_tokens: 1000, hit_tokens: 640 },
    speculation: { drafted: 200, accepted: 150 },
    tokens: { prompt: 1000, generated: 5000 },
    tok_s: { prompt: 90, generated: 41.5 },
    experts: Array.from({ length: 26 }, (_, i) => ({
      layer: i + 1,
      counts: Array.from({ length: 64 }, (_, e) =>
        e === 5 ? 0 : Math.round(100 * Math.exp(Math.sin(e * 7.3 + i * 3.1))),
      ),
    })),
  };
  const page = await open("/status", {
    prepare: (page) => page.route("**/api/status", (route) => route.fulfill({ json: status })),
  });
  const map = page.getByRole("img", { name: "Heat map of 26 layers by 64 experts" });
  await map.waitFor();
  const colors = await until(
    () =>
      map.evaluate((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(Array.from({ length: data.length / 4 }, (_, i) => data.slice(4 * i, 4 * i + 3).join()))
          .size;
      }),
    "the map is painted",
  );
  assert.ok(colors > 30, `${colors} colours`);
  await map.hover({ position: { x: 40, y: 5 } });
  await page.getByText("Layer 1, expert 0:").waitFor();
  await page.getByText("Layers in numbers").click();
  assert.equal(await page.locator(".numbers tbody tr").count(), 26);
  await page.getByText("Layers in numbers").click();
  await shot(page, "status");
}
