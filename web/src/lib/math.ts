/**
 * LaTeX in Markdown: $$…$$ \[…\] \(…\) $…$, rendered as MathML, which needs neither fonts nor style
 * attributes.
 */
import katex from "katex";
import type { MarkedExtension, Tokens } from "marked";
import { escapeHtml } from "./escape";

// A formula that is not closed within this many characters is none. It also bounds what an unclosed one
// costs.
const LONGEST = 4000;
const BLOCK = new RegExp(
  String.raw`^ {0,3}(?:\$\$([^]{1,${LONGEST}}?)\$\$|\\\[([^]{1,${LONGEST}}?)\\\])[ \t]*(?:\n+|$)`,
);
const INLINE = [
  new RegExp(String.raw`^\$\$([^]{1,${LONGEST}}?)\$\$`),
  new RegExp(String.raw`^\\\[([^]{1,${LONGEST}}?)\\\]`),
  new RegExp(String.raw`^\\\(([^]{1,${LONGEST}}?)\\\)`),
  // One dollar: tight on both sides and no digit after it, so that "$5 and $10" stays text.
  /^\$(?![\s$])((?:\\[^\n]|[^\\$\n]){0,400}?(?:\\[^\n]|[^\\$\s]))\$(?![\d$])/,
];

interface MathToken extends Tokens.Generic {
  text: string;
  display: boolean;
}

/** MathML of a formula; what is none is shown as it was written. */
export function renderMath(tex: string, display: boolean): string {
  try {
    const html = katex.renderToString(tex, {
      output: "mathml",
      displayMode: display,
      throwOnError: true,
      trust: false,
      strict: "ignore",
      maxExpand: 200,
      maxSize: 20,
    });
    // The page's policy refuses style attributes; this keeps the parser from reporting them.
    return html.replace(/ style="[^"]*"/g, "");
  } catch {
    return `<code>${escapeHtml(tex)}</code>`;
  }
}

function startOf(source: string): number | undefined {
  const at = source.search(/\$|\\[([]/);
  return at < 0 ? undefined : at;
}

function inline(source: string): MathToken | undefined {
  for (const [i, form] of INLINE.entries()) {
    const match = form.exec(source);
    if (match) return { type: "math", raw: match[0], text: match[1]!.trim(), display: i < 2 };
  }
  return undefined;
}

function block(source: string): MathToken | undefined {
  const match = BLOCK.exec(source);
  if (!match) return undefined;
  return { type: "mathBlock", raw: match[0], text: (match[1] ?? match[2] ?? "").trim(), display: true };
}

const renderer = (token: Tokens.Generic) =>
  renderMath((token as MathToken).text, (token as MathToken).display);

export const mathExtension: MarkedExtension = {
  extensions: [
    {
      name: "mathBlock",
      level: "block",
      start: (source) => {
        const at = source.search(/(^|\n) {0,3}(\$\$|\\\[)/);
        return at < 0 ? undefined : at;
      },
      tokenizer: block,
      renderer,
    },
    { name: "math", level: "inline", start: startOf, tokenizer: inline, renderer },
  ],
};
