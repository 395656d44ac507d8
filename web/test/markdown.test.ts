import { window } from "./page";
import assert from "node:assert/strict";
import { test } from "node:test";
// @ts-expect-error plain JavaScript, shared with the browser's tests
import { attacks } from "../e2e/attacks.mjs";

const { renderBlock, toBlocks } = await import("../src/lib/markdown");

function html(text: string): string {
  const box = window.document.createElement("div");
  for (const block of toBlocks(text)) box.append(renderBlock(block));
  return box.innerHTML;
}

const BAD_ELEMENT =
  /^(script|iframe|object|embed|form|input|img|video|audio|svg|style|link|base|meta|template|div)$/i;

test("attacks are inert", () => {
  for (const attack of attacks as string[]) {
    const box = window.document.createElement("div");
    for (const block of toBlocks(attack)) box.append(renderBlock(block));
    for (const element of box.querySelectorAll("*")) {
      assert.doesNotMatch(element.nodeName, BAD_ELEMENT, attack);
      for (const { name, value } of element.attributes) {
        assert.doesNotMatch(name, /^on|^style$|^id$|^name$|^src|action|^data-|^aria-/i, attack);
        if (name === "href") assert.match(value, /^(https?:\/\/|mailto:)/, attack);
        if (name === "class") assert.match(value, /^(hljs|language-)/, attack);
      }
    }
  }
});

test("text that looks like HTML is shown as text", () => {
  assert.equal(html("a <b>c</b> <div>d</div>"), "<p>a <b>c</b> &lt;div&gt;d&lt;/div&gt;</p>\n");
});

test("links leave the page safely, images are links", () => {
  const rest = 'target="_blank" rel="noopener noreferrer"';
  assert.equal(
    html("[x](https://e.org/a?b=1&c)"),
    `<p><a href="https://e.org/a?b=1&amp;c" ${rest}>x</a></p>\n`,
  );
  assert.equal(html("![x](https://e.org/a.png)"), `<p><a href="https://e.org/a.png" ${rest}>x</a></p>\n`);
  assert.equal(html("[x](/local)"), "<p>x</p>\n");
});

test("formulas in four notations become MathML; prices stay prices", () => {
  for (const text of ["$x^2$", "\\(x^2\\)", "$$x^2$$", "\\[x^2\\]", "$$\nx^2\n$$", "\\[\nx^2\n\\]"]) {
    assert.match(html(text), /<math[^>]*>.*<msup>/s, text);
  }
  assert.match(html("$$\nx\n$$"), /display="block"/);
  assert.equal(html("It costs $5 and $10."), "<p>It costs $5 and $10.</p>\n");
  assert.equal(html("`$x$`"), "<p><code>$x$</code></p>\n");
  assert.equal(html("$\\frac{$"), "<p>$\\frac{$</p>\n".replace("$\\frac{$", "<code>\\frac{</code>"));
});

test("code is coloured where the language is known", () => {
  assert.match(
    html("```python\nreturn 1\n```"),
    /<pre><code class="language-python"><span class="hljs-keyword">return<\/span>/,
  );
  assert.equal(
    html("```whatever\n<i>\n```"),
    '<pre><code class="language-whatever">&lt;i&gt;</code></pre>\n',
  );
});

test("headings begin below the page's own", () => {
  assert.equal(html("# a\n\n###### b"), "<h3>a</h3>\n<h6>b</h6>\n");
});

test("while a text grows, blocks that are complete keep their key", () => {
  const before = toBlocks("one\n\ntwo");
  const after = toBlocks("one\n\ntwo and a half\n\nthree");
  assert.equal(after[0]!.key, before[0]!.key);
  assert.notEqual(after[1]!.key, before[1]!.key);
});

test("hostile texts neither hang nor throw", () => {
  for (const piece of [
    "\\(",
    "$",
    "$a ",
    "\\[\n",
    "$$\n",
    "[",
    "*a ",
    "<",
    "`a",
    ">",
    "- ",
    "_",
    "|",
    "a|b\n",
    "[](",
    "![",
    "~~a",
  ]) {
    for (const count of [1000, 30_000 / piece.length]) {
      const text = piece.repeat(count);
      const started = performance.now();
      const blocks = toBlocks(text);
      const ms = performance.now() - started;
      if (blocks.length < 10) assert.ok(blocks.map(renderBlock).length > 0); // jsdom takes long for many
      assert.ok(ms < 10_000, `${JSON.stringify(piece)} ${count} times: ${ms} ms`);
    }
  }
});

test("quotes have an end", () => {
  const depth = (html("> ".repeat(2000) + "x").match(/<blockquote>/g) ?? []).length;
  assert.ok(depth >= 10 && depth < 100, String(depth));
});
