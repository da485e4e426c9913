import { useSyncExternalStore } from "react";
import { useSpoken } from "../i18n";
import { Button } from "./basics";

interface Toast {
  id: number;
  text: string;
  bad: boolean;
  undo?: (() => void) | undefined;
}

let toasts: readonly Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();
const SHOWN_MILLISECONDS = 6000;

function set(now: readonly Toast[]): void {
  toasts = now;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function toast(text: string, options: { bad?: boolean; undo?: () => void } = {}): void {
  const one = { id: next++, text, bad: options.bad ?? false, undo: options.undo };
  set([...toasts.slice(-2), one]);
  setTimeout(() => dismiss(one.id), options.bad ? 2 * SHOWN_MILLISECONDS : SHOWN_MILLISECONDS);
}

function dismiss(id: number): void {
  set(toasts.filter((one) => one.id !== id));
}

export function Toasts() {
  const { t } = useSpoken();
  const shown = useSyncExternalStore(subscribe, () => toasts);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map((one) => (
        <div key={one.id} className={one.bad ? "toast bad" : "toast"}>
          <span>{one.text}</span>
          {one.undo && (
            <Button
              kind="quiet"
              icon="undo"
              onClick={() => {
                one.undo?.();
                dismiss(one.id);
              }}
            >
              {t.common.undo}
            </Button>
          )}
          <Button kind="quiet" icon="close" compact onClick={() => dismiss(one.id)}>
            {t.common.close}
          </Button>
        </div>
      ))}
    </div>
  );
}
