import { useEffect, useState } from "preact/hooks";

/** Counts changes of the colour scheme: canvases have to be painted again. */
export function useTheme(): number {
  const [count, setCount] = useState(0);
  useEffect(() => {
    const changed = () => setCount((n) => n + 1);
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", changed);
    window.addEventListener("hadal-theme", changed);
    return () => {
      media.removeEventListener("change", changed);
      window.removeEventListener("hadal-theme", changed);
    };
  }, []);
  return count;
}
