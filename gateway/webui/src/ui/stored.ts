import { useCallback, useEffect, useState } from "react";

/** State that outlives a reload and is the same all over the page and in every tab; what is kept under the name has the shape of `initial`. */
export function useStored<T>(name: string, initial: T): [T, (next: T) => void] {
  const key = `timbre.${name}`;
  const [value, setValue] = useState<T>(() => read(key, initial));
  useEffect(() => {
    const changed = (event: StorageEvent) => {
      if (event.key === key && event.newValue !== null) setValue(JSON.parse(event.newValue) as T);
    };
    window.addEventListener("storage", changed);
    return () => window.removeEventListener("storage", changed);
  }, [key]);
  const change = useCallback(
    (next: T) => {
      const newValue = JSON.stringify(next);
      localStorage.setItem(key, newValue);
      setValue(next);
      // browsers tell the other tabs only, and another part of this page may show it too
      window.dispatchEvent(new StorageEvent("storage", { key, newValue }));
    },
    [key],
  );
  return [value, change];
}

function read<T>(key: string, initial: T): T {
  const kept = localStorage.getItem(key);
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
