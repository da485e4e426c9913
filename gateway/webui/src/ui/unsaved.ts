import { useEffect, useRef } from "react";

/** Has the browser ask before the page is left while something would be lost; looked at only then. */
export function useUnsaved(unsaved: () => boolean, watch = true): void {
  const latest = useRef(unsaved);
  latest.current = unsaved;
  useEffect(() => {
    if (!watch) return;
    const warn = (event: BeforeUnloadEvent) => {
      if (latest.current()) event.preventDefault();
    };
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [watch]);
}
