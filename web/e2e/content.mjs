/** What a model writes: drawn as it should be, and without any power. */
import assert from "node:assert/strict";
import { attacks } from "./attacks.mjs";
import { answer, delta, equal, reply, send } from "./steps.mjs";

const TOUR = `## Pressure

It grows with depth: $p = \\rho g z$ and

$$
\\int_0^z \\rho(z')\\,g\\,\\mathrm{d}z'
$$

| zone | depth (m) |
|:--|--:|
| hadal | 6000–11000 |

\`\`\`python
def pressure(depth: float) -> float:
    return 1025.0 * 9.81 * depth  # Pa
\`\`\`

- [a link](https://example.org/x) and ![a picture](https://example.org/y.png)
`;

export async function content_markdown_math_and_code({ open, shot }) {
  const page = await open("/", { prepare: (page) => reply(page, delta(TOUR)) });
  await page
    .context()
    .grantPermissions(["clipboard-read", "clipboard-write"])
    .catch(() => {});
  await send(page, "Tell me about pressure");
  const message = await answer(page);
  equal(await message.locator("math").count(), 2);
  equal(await message.locator("math[display=block]").count(), 1);
  assert.ok((await message.locator(".hljs-keyword").count()) >= 2, "code has colours");
  equal(await message.locator("td[align=right]").innerText(), "6000–11000");
  equal(await message.locator("img").count(), 0);
  const link = message.getByRole("link", { name: "a link" });
  equal(
    [await link.getAttribute("rel"), await link.getAttribute("target")],
    ["noopener noreferrer", "_blank"],
  );
  equal(
    await message.getByRole("link", { name: "a picture" }).getAttribute("href"),
    "https://example.org/y.png",
  );
  await message.getByRole("button", { name: "Copy code" }).click();
  await message.getByText("Copied").first().waitFor();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^def pressure/);
  await shot(page, "content");
}

export async function content_attacks_are_inert({ open }) {
  // One attack a message: an unclosed element of one would swallow the next.
  const page = await open("/", {
    prepare: (page) => reply(page, ...attacks.flatMap((attack) => [delta(`${attack}\n\n`)])),
  });
  await send(page, attacks.join("\n"));
  await inert(page, await answer(page));
  for (const attack of attacks) {
    await page.unroute("**/v1/chat/completions");
    await reply(page, delta(attack));
    await page.getByRole("button", { name: "Answer again" }).click();
    await inert(page, await answer(page), attack);
  }
  await page.reload();
  await inert(page, await answer(page), "after a reload");
}

async function inert(page, message, what = "all together") {
  const found = await message.locator(".markdown").evaluate((root) => {
    const bad = [];
    for (const element of root.querySelectorAll("*")) {
      if (
        /^(script|iframe|object|embed|form|input|img|video|audio|svg|style|link|base|meta|template)$/i.test(
          element.nodeName,
        )
      ) {
        bad.push(element.nodeName);
      }
      for (const { name, value } of element.attributes) {
        if (/^on|^style$|^id$|^name$|^srcdoc$|^formaction$/i.test(name))
          bad.push(`${element.nodeName} ${name}`);
        if (/^(href|src|xlink:href)$/i.test(name) && !/^(https?:|mailto:)/i.test(value))
          bad.push(`${name}=${value}`);
      }
    }
    return bad;
  });
  equal(found, [], what);
  await page.waitForTimeout(20); // an onerror would have run by now; alert() is reported by the harness
}
