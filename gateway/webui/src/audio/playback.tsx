import { useSyncExternalStore } from "react";
import { useSpoken } from "../i18n";
import { Button } from "../ui/basics";
import { toast } from "../ui/toasts";

/** One thing sounds at a time: whoever begins has what sounded before stopped. */
let stopCurrent: (() => void) | null = null;

export function claimPlayback(stop: () => void): void {
  if (stopCurrent !== stop) stopCurrent?.();
  stopCurrent = stop;
}

const audio = new Audio();
audio.preload = "none";
let current = "";
let playing = false;
const listeners = new Set<() => void>();

function changed(): void {
  playing = !audio.paused && !audio.ended;
  for (const listener of listeners) listener();
}
for (const name of ["play", "pause", "ended", "emptied"]) audio.addEventListener(name, changed);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const pause = () => audio.pause();

/** A link that is signed anew at each answer still means the same audio. */
export function sameAudio(url: string): string {
  return url.replace(/[?&]expires=\d+&signature=[^&]+/, "");
}

/** Plays an address, or stops when it is what plays. */
export async function togglePlay(url: string): Promise<void> {
  if (sameAudio(current) === sameAudio(url) && playing) {
    audio.pause();
    return;
  }
  claimPlayback(pause);
  current = url;
  audio.src = url;
  try {
    await audio.play();
  } catch (error) {
    if ((error as DOMException).name !== "AbortError") throw error;
  }
}

export function stopPlaying(): void {
  audio.pause();
}

export function usePlaying(url: string): boolean {
  return useSyncExternalStore(subscribe, () => playing && sameAudio(current) === sameAudio(url));
}

export function PlayButton({ url, label, disabled }: { url: string; label: string; disabled?: boolean }) {
  const { t } = useSpoken();
  const on = usePlaying(url);
  return (
    <Button
      compact
      icon={on ? "pause" : "play"}
      className={on ? "round playing" : "round"}
      aria-label={`${on ? t.audio.stop : t.audio.play}: ${label}`}
      title={on ? t.audio.stop : t.audio.play}
      disabled={disabled ?? false}
      onClick={() => togglePlay(url).catch(() => toast(t.audio.failed, { bad: true }))}
    >
      {label}
    </Button>
  );
}
