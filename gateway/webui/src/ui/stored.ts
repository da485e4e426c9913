import { useCallback, useEffect, useState } from "react";

const CHANGED = "timbre.stored";

/**
 * State that outlives a reload and is the same all over the page; what is kept under the name has the shape of `initial`.
 *
 * Each tab has its own, so that two of them never write into each other's fields; a new one begins with what was last kept.
 */
export function useStored<T>(name: string, initial: T): [T, (next: T) => void] {
  const key = `timbre.${name}`;
  const [value, setValue] = useState<T>(() => read(key, initial));
  useEffect(() => {
    const changed = (event: Event) => {
      const { detail } = event as CustomEvent<{ key: string; next: T }>;
      if (detail.key === key) setValue(detail.next);
    };
    window.addEventListener(CHANGED, changed);
    return () => window.removeEventListener(CHANGED, changed);
  }, [key]);
  const change = useCallback(
    (next: T) => {
      for (const storage of [sessionStorage, localStorage]) storage.setItem(key, JSON.stringify(next));
      setValue(next);
      // another part of this page may show it too
      window.dispatchEvent(new CustomEvent(CHANGED, { detail: { key, next } }));
    },
    [key],
  );
  return [value, change];
}

function read<T>(key: string, initial: T): T {
  const kept = sessionStorage.getItem(key) ?? localStorage.getItem(key);
  if (kept === null) return initial;
  try {
    return JSON.parse(kept) as T;
  } catch {
    return initial;
  }
}

/** A value that follows another once that has been still for a while. */
export function useSettled<T>(value: T, milliseconds: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), milliseconds);
    return () => clearTimeout(timer);
  }, [value, milliseconds]);
  return settled;
}

/** Parameters of the address, and a way to change some of them without leaving a trail of steps back. */
export function withParameters(search: string, changes: Record<string, string | null>): string {
  const parameters = new URLSearchParams(search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") parameters.delete(name);
    else parameters.set(name, value);
  }
  const text = parameters.toString();
  return text ? `?${text}` : "";
}
