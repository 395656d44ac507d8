/** A message's Markdown, drawn block by block: while it grows, only its last block is drawn again. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { memo } from "./memo";
import { t } from "../lib/i18n";
import { renderBlock, toBlocks, type Block } from "../lib/markdown";
import { copyText } from "../lib/ui";

function codeBar(pre: HTMLPreElement): HTMLElement {
  const figure = document.createElement("figure");
  figure.className = "code";
  const bar = document.createElement("figcaption");
  const code = pre.querySelector("code");
  const language = document.createElement("span");
  language.textContent = /language-([a-z0-9+#-]+)/.exec(code?.className ?? "")?.[1] ?? t("code");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = t("copy");
  button.setAttribute("aria-label", t("copyCode"));
  button.addEventListener("click", () => {
    void copyText(code?.textContent ?? "").then(() => {
      button.textContent = t("copied");
      setTimeout(() => (button.textContent = t("copy")), 1500);
    });
  });
  bar.append(language, button);
  pre.tabIndex = 0; // it scrolls, and the keyboard has to reach it
  pre.replaceWith(figure);
  figure.append(bar, pre);
  return figure;
}

function tableFrame(table: HTMLTableElement): void {
  const frame = document.createElement("div");
  frame.className = "table-frame";
  frame.tabIndex = 0;
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", t("table"));
  table.replaceWith(frame);
  frame.append(table);
}

const BlockView = memo(
  ({ block }: { block: Block }) => {
    const ref = useRef<HTMLDivElement>(null);
    useLayoutEffect(() => {
      const fragment = renderBlock(block);
      fragment.querySelectorAll("pre").forEach(codeBar);
      fragment.querySelectorAll("table").forEach(tableFrame);
      ref.current?.replaceChildren(fragment);
    }, [block.key]);
    return <div class="block" ref={ref} />;
  },
  (before, after) => before.block.key === after.block.key,
);

// A text that grows and whose parsing takes long is parsed again only after this many times as long.
const PATIENCE = 10;

/** The text's blocks, as of now or, where parsing is slow, of a moment ago. */
function useBlocks(text: string, grows: boolean): Block[] {
  const last = useRef({ text: "", blocks: [] as Block[], until: 0 });
  const [, draw] = useState(0);
  const wait = text === last.current.text || !grows ? 0 : last.current.until - performance.now();
  if (text !== last.current.text && wait <= 0) {
    const started = performance.now();
    const blocks = toBlocks(text);
    const now = performance.now();
    last.current = { text, blocks, until: now + PATIENCE * (now - started) };
  }
  useEffect(() => {
    if (wait <= 0) return;
    const timer = setTimeout(() => draw((n) => n + 1), wait);
    return () => clearTimeout(timer);
  });
  return last.current.blocks;
}

export function Markdown({ text, grows }: { text: string; grows: boolean }) {
  const blocks = useBlocks(text, grows);
  return (
    <div class="markdown">
      {blocks.map((block, i) => (
        <BlockView key={i} block={block} />
      ))}
    </div>
  );
}
