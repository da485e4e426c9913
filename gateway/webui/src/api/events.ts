import { authorized } from "./client";

/** One server-sent event. */
export interface Event {
  name: string;
  id: string;
  data: string;
}

/** Splits text that arrives in pieces into events (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<Event> {
  const reader = body.pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event: Event = { name: "message", id: "", data: "" };
        for (const line of block.split("\n")) {
          const [, field, text] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
          if (field === "event") event.name = text ?? "";
          else if (field === "id") event.id = text ?? "";
          else if (field === "data") event.data += text;
        }
        if (event.data) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const FIRST_DELAY = 500;
const LONGEST_DELAY = 8000;

interface Following {
  path: string;
  /** The id of the last event that is known already. */
  after?: string;
  on: (event: Event) => void;
  connected?: (now: boolean) => void;
}

/**
 * Follows a stream of events until told to stop, and takes it up again where it broke off.
 *
 * It is read by fetch, since an EventSource cannot send a token. A tab that nobody sees lets go of its connection:
 * browsers allow six to one host.
 */
export function follow({ path, after = "", on, connected = () => {} }: Following): () => void {
  let stopped = false;
  let abort = new AbortController();
  let last = after;
  let delay = FIRST_DELAY;
  let wake = () => {};

  const run = async () => {
    while (!stopped) {
      if (document.hidden) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      abort = new AbortController();
      try {
        const headers = authorized(last ? { "Last-Event-ID": last } : {});
        const response = await fetch(path, { headers, signal: abort.signal, cache: "no-store" });
        // not there, or not for this caller: asking again would not help
        if ([401, 403, 404].includes(response.status)) return;
        if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
        connected(true);
        delay = FIRST_DELAY;
        for await (const event of readEvents(response.body)) {
          if (stopped) return;
          if (event.id) last = event.id;
          on(event);
          if (event.name === "end") return;
        }
      } catch {
        // the connection broke, or was let go of: it is taken up again
      }
      if (stopped) return;
      if (!document.hidden) connected(false);
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, delay);
      });
      delay = Math.min(delay * 2, LONGEST_DELAY);
    }
  };
  const seen = () => {
    if (document.hidden) abort.abort();
    else wake();
  };
  const online = () => wake();
  const offline = () => abort.abort();
  document.addEventListener("visibilitychange", seen);
  window.addEventListener("online", online);
  window.addEventListener("offline", offline);
  run();
  return () => {
    stopped = true;
    abort.abort();
    wake();
    document.removeEventListener("visibilitychange", seen);
    window.removeEventListener("online", online);
    window.removeEventListener("offline", offline);
  };
}
