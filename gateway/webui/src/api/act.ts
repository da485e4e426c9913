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
  // one that began later is the one to tell of
  const turn = useRef(0);
  const run = useCallback(async (...args: A) => {
    const mine = ++turn.current;
    setBusy(true);
    setError(null);
    try {
      return await latest.current(...args);
    } catch (failed) {
      if (mine === turn.current) setError(failed);
      return undefined;
    } finally {
      if (mine === turn.current) setBusy(false);
    }
  }, []);
  const clear = useCallback(() => setError(null), []);
  return { busy, error, run, clear };
}
