import { fetchOk } from "../api/client";
import { sameAudio } from "./playback";

/** Outlines of short WAVs for rows of a table: read as they come into view, and kept for a while. */

const KEPT = 600;
const AT_ONCE = 3;
const kept = new Map<string, Float32Array>();
let running = 0;
const waiting: (() => void)[] = [];

/** Highest sample of each of `count` stretches of a 16-bit mono WAV, 0 to 1. */
export function outline(wav: ArrayBuffer, count: number): Float32Array {
  const view = new DataView(wav);
  let at = 12;
  while (at + 8 < wav.byteLength && view.getUint32(at, false) !== 0x64617461) at += 8 + view.getUint32(at + 4, true);
  const start = at + 8;
  const samples = new Int16Array(wav.slice(start, start + ((wav.byteLength - start) & ~1)));
  const peaks = new Float32Array(count);
  const size = Math.max(1, samples.length / count);
  for (let index = 0; index < count; index++) {
    let highest = 0;
    const end = Math.min(samples.length, Math.floor((index + 1) * size));
    for (let place = Math.floor(index * size); place < end; place += 3) {
      const value = Math.abs(samples[place] ?? 0);
      if (value > highest) highest = value;
    }
    peaks[index] = highest / 32768;
  }
  return peaks;
}

export function keptOutline(url: string): Float32Array | undefined {
  return kept.get(sameAudio(url));
}

export async function readOutline(url: string, count: number, signal: AbortSignal): Promise<Float32Array> {
  if (running >= AT_ONCE) {
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
    });
  }
  running += 1;
  try {
    signal.throwIfAborted();
    const wav = await (await fetchOk(url, { signal })).arrayBuffer();
    const peaks = outline(wav, count);
    kept.set(sameAudio(url), peaks);
    if (kept.size > KEPT) kept.delete(kept.keys().next().value as string);
    return peaks;
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}
