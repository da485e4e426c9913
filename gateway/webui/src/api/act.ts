import { useCallback, useRef, useState } from "react";

export interface Act<A extends unknown[], T> {
  busy: boolean;
  error: unknown;
  /** Does it; undefined when it failed, and `error` says why. */
  run: (...args: A) => Promise<T | undefined>;
  clear: () => void;
}

/** Something that a person has done: whether it is under way, and how it failed. */
export function useAct<A extends unknown[], T>(work: (...args: A) => Promise<T>): Act<A, T> {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const latest = useRef(work);
  latest.current = work;
  const run = useCallback(async (...args: A) => {
    setBusy(true);
    setError(null);
    try {
      return await latest.current(...args);
    } catch (failed) {
      setError(failed);
      return undefined;
    } finally {
      setBusy(false);
    }
  }, []);
  const clear = useCallback(() => setError(null), []);
  return { busy, error, run, clear };
}
