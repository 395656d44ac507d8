import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Info } from "../lib/api";
import { escapeHtml } from "../lib/escape";
import { highlight } from "../lib/highlight";
import { t } from "../lib/i18n";
import { sanitise } from "../lib/markdown";
import { CopyButton } from "../lib/ui";
import { snippets } from "./snippets";

export function CodePage({ info }: { info: Info }) {
  const all = snippets(location.origin, info.model.id, info.auth);
  const [chosen, setChosen] = useState(0);
  const code = useRef<HTMLElement>(null);
  const snippet = all[chosen]!;
  useLayoutEffect(() => {
    const html = highlight(snippet.code, snippet.language) ?? escapeHtml(snippet.code);
    code.current?.replaceChildren(sanitise(html));
  }, [snippet.code]);
  return (
    <>
      <p class="lead">{t("codeText")}</p>
      <dl class="facts">
        <div>
          <dt>{t("baseUrl")}</dt>
          <dd>
            <code>{location.origin}/v1</code>
            <CopyButton text={() => `${location.origin}/v1`} />
          </dd>
        </div>
        <div>
          <dt>{t("model")}</dt>
          <dd>
            <code>{info.model.id}</code>
            <CopyButton text={() => info.model.id} />
          </dd>
        </div>
      </dl>
      <div class="segments" role="group" aria-label={t("snippetLanguage")}>
        {all.map(({ name }, i) => (
          <button type="button" key={name} aria-pressed={i === chosen} onClick={() => setChosen(i)}>
            {name}
          </button>
        ))}
      </div>
      <figure class="code snippet">
        <figcaption>
          <span>{snippet.name}</span>
          <CopyButton text={() => snippet.code} label={t("copyCode")} />
        </figcaption>
        <pre tabIndex={0}>
          <code ref={code} />
        </pre>
      </figure>
    </>
  );
}
