/**
 * What a model writes, as nodes that cannot act. Three barriers: HTML in the text is shown, not used;
 * DOMPurify passes a short list of elements and attributes; the page's Content-Security-Policy forbids inline
 * script and style.
 */
import DOMPurify, { type Config } from "dompurify";
import { Lexer, Marked, type Token, type TokensList } from "marked";
import { escapeHtml } from "./escape";
import { highlight } from "./highlight";
import { mathExtension } from "./math";

// Bounds for texts that repeat themselves for ever, or are meant to hang the page: some of Markdown's rules
// take time that grows with the square of a text. Beyond these, text is shown as it is: in all, of one
// paragraph, and formulas of a text with more openings than this; and what lies deeper in quotes and lists.
const LONGEST = 200_000;
const LONGEST_PARAGRAPH = 8_000;
const MOST_FORMULAS = 4_000;
const MOST_FORMULA_BLOCKS = 1_000;
const DEEPEST = 20;
// The only tags that a text may use itself, and only bare.
const HARMLESS_TAG = /^<\/?(?:br|sub|sup|kbd|b|i|u)\s*\/?>$/i;
const LINK = /^(?:https?:\/\/|mailto:)/i;
const CLASS = /^(?:hljs(?:-[a-z_]+)*|language-[a-z0-9+#-]+|[a-z]+_)$/;

const MATH =
  "math semantics annotation mi mn mo ms mtext mspace mrow mfrac msqrt mroot mstyle merror mpadded mphantom " +
  "menclose msub msup msubsup munder mover munderover mmultiscripts mtable mtr mtd";
const MATH_ATTRIBUTES =
  "display mathvariant encoding stretchy fence separator lspace rspace minsize maxsize accent accentunder width " +
  "height depth voffset linethickness columnalign rowspacing columnspacing columnlines rowlines displaystyle " +
  "scriptlevel movablelimits notation mathcolor mathbackground symmetric largeop xmlns";
const CONFIG: Config & { RETURN_DOM_FRAGMENT: true } = {
  ALLOWED_TAGS: [
    ..."p br hr h3 h4 h5 h6 ul ol li blockquote pre code em strong del a table thead tbody tr th td".split(
      " ",
    ),
    ..."span sub sup kbd b i u".split(" "),
    ...MATH.split(" "),
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "align", ...MATH_ATTRIBUTES.split(" ")],
  // DOMPurify holds every attribute that is not named here against the pattern of addresses.
  ALLOWED_URI_REGEXP: LINK,
  ADD_URI_SAFE_ATTR: ["title", "class", "start", "align", ...MATH_ATTRIBUTES.split(" ")],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** A link if the address may be one, else the text alone. `html` is already escaped. */
function link(href: string, html: string, title?: string | null): string {
  const safe = href.trim();
  if (!LINK.test(safe)) return html;
  return `<a href="${escapeHtml(safe)}"${title ? ` title="${escapeHtml(title)}"` : ""}>${html}</a>`;
}

class BoundedLexer extends Lexer {
  private depth = 0;

  override blockTokens(source: string, tokens: Token[] | TokensList = [], clipped = false): TokensList {
    const out = tokens as TokensList;
    if (this.depth >= DEEPEST) {
      out.push({ type: "text", raw: source, text: source, escaped: false });
      return out;
    }
    this.depth++;
    super.blockTokens(source, out, clipped);
    this.depth--;
    return out;
  }

  override inlineTokens(source: string, tokens: Token[] = []): Token[] {
    if (source.length <= LONGEST_PARAGRAPH) return super.inlineTokens(source, tokens);
    tokens.push({ type: "text", raw: source, text: source, escaped: false });
    return tokens;
  }
}

const withMath = new Marked({ gfm: true, breaks: false, async: false }, mathExtension);
const withoutMath = new Marked({ gfm: true, breaks: false, async: false });
withMath.use({
  renderer: {
    html: ({ text }) => (HARMLESS_TAG.test(text.trim()) ? text : escapeHtml(text)),
    // Nothing is loaded from elsewhere: an image is a link to it.
    image: ({ href, text, title }) => link(href, escapeHtml(text || href), title),
    link({ href, title, tokens }) {
      return link(href, this.parser.parseInline(tokens), title);
    },
    // The page's own headings are the first two levels.
    heading({ depth, tokens }) {
      const level = Math.min(depth + 2, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    code({ text, lang }) {
      const language = (lang ?? "").trim().split(/\s/)[0]!.toLowerCase();
      const shown = /^[a-z0-9+#-]{1,24}$/.test(language) ? ` class="language-${language}"` : "";
      return `<pre><code${shown}>${highlight(text, language) ?? escapeHtml(text)}</code></pre>\n`;
    },
  },
});

DOMPurify.addHook("uponSanitizeAttribute", (_node, data) => {
  if (data.attrName !== "class") return;
  data.attrValue = data.attrValue
    .split(/\s+/)
    .filter((name) => CLASS.test(name))
    .join(" ");
  data.keepAttr = data.attrValue !== "";
});
DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName !== "A") return;
  if (!node.hasAttribute("href")) return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer");
});

/** A part of the text between two blank lines or so. Equal keys render equally. */
export interface Block {
  key: string;
  tokens: TokensList | Token[];
}

function hasTooMuchMath(text: string): boolean {
  const count = (pattern: RegExp) => text.match(pattern)?.length ?? 0;
  return count(/\$|\\[([]/g) > MOST_FORMULAS || count(/^ {0,3}(?:\$\$|\\\[)/gm) > MOST_FORMULA_BLOCKS;
}

function asWritten(text: string): Block[] {
  return [{ key: text, tokens: [{ type: "code", raw: text, text } as Token] }];
}

/**
 * The text's blocks; while it grows, all but the last ones keep their key, so that only those are rendered
 * again.
 */
export function toBlocks(text: string): Block[] {
  if (text.length > LONGEST) return asWritten(text);
  const rules = hasTooMuchMath(text) ? withoutMath : withMath;
  const tokens = new BoundedLexer(rules.defaults).lex(text);
  const links = JSON.stringify(tokens.links);
  return tokens
    .filter((token) => token.type !== "space")
    .map((token) => ({ key: token.raw + links, tokens: [token] }));
}

export function renderBlock(block: Block): DocumentFragment {
  return sanitise(withMath.parser(block.tokens));
}

export function sanitise(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, CONFIG);
}
