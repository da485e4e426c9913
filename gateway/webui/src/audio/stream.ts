/** Speech that sounds while it is still being made: 16-bit mono samples, scheduled piece by piece as they arrive. */

const RATE = 22050;
/** How much is waited for before the first sound, so that the second piece is there when the first ends. */
const LEAD_SECONDS = 0.15;

export interface Heard {
  /** Samples so far, -1 to 1. */
  samples: Float32Array<ArrayBuffer>;
  seconds: number;
}

export interface Stream {
  /** Settles when all has arrived; with everything. */
  finished: Promise<Heard>;
  stop: () => void;
}

/**
 * Plays a body of bare samples.
 *
 * @param body What arrives.
 * @param context Made by the click that asked for it, as browsers want it.
 * @param heard Told of everything that has arrived so far.
 */
export function playStream(body: ReadableStream<Uint8Array>, context: AudioContext, heard: (now: Heard) => void): Stream {
  const reader = body.getReader();
  let samples = new Float32Array(RATE * 8);
  let count = 0;
  let odd: number | null = null;
  let at = 0;
  let stopped = false;

  const append = (bytes: Uint8Array): Float32Array<ArrayBuffer> => {
    const joined = odd === null ? bytes : new Uint8Array([odd, ...bytes]);
    const whole = joined.length & ~1;
    odd = joined.length > whole ? (joined[whole] ?? null) : null;
    const view = new DataView(joined.buffer, joined.byteOffset, whole);
    const piece = new Float32Array(whole / 2);
    for (let index = 0; index < piece.length; index++) piece[index] = view.getInt16(2 * index, true) / 32768;
    if (count + piece.length > samples.length) {
      const larger = new Float32Array(2 * (count + piece.length));
      larger.set(samples.subarray(0, count));
      samples = larger;
    }
    samples.set(piece, count);
    count += piece.length;
    return piece;
  };

  const schedule = (piece: Float32Array<ArrayBuffer>) => {
    if (!piece.length || context.state === "closed") return;
    const buffer = context.createBuffer(1, piece.length, RATE);
    buffer.copyToChannel(piece, 0);
    const node = context.createBufferSource();
    node.buffer = buffer;
    node.connect(context.destination);
    at = Math.max(at, context.currentTime + (at === 0 ? LEAD_SECONDS : 0.01));
    node.start(at);
    at += buffer.duration;
  };

  const run = async (): Promise<Heard> => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || stopped) break;
      schedule(append(value));
      heard({ samples: samples.subarray(0, count), seconds: count / RATE });
    }
    return { samples: samples.slice(0, count), seconds: count / RATE };
  };

  return {
    finished: run(),
    stop: () => {
      stopped = true;
      reader.cancel().catch(() => {});
      if (context.state !== "closed") context.close().catch(() => {});
    },
  };
}
