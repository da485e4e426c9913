import { useSyncExternalStore } from "react";
import { Problem, token } from "../../api/client";

/**
 * Files on their way to a dataset. The queue belongs to the tab and not to a page, so that it goes on whatever is shown;
 * the names of what was not finished outlive a reload, since the files themselves cannot.
 */

export type UploadState = "waiting" | "sending" | "paused" | "failed" | "done" | "lost";

export interface Upload {
  id: number;
  folder: string;
  name: string;
  size: number;
  state: UploadState;
  /** 0 to 1 */
  progress: number;
  error: unknown;
  /** What an archive's import goes on as. */
  jobId: string | null;
}

interface Item extends Upload {
  file: File | null;
}

const UNFINISHED = "timbre.uploads";
/** Answers to what a file is or holds: sending it again would change nothing. */
const REFUSALS = [400, 413, 415, 422];
const ARCHIVE = /\.(zip|tar|tgz|tar\.(gz|bz2|xz))$/i;

let items: readonly Item[] = lost();
let next = 1;
let request: XMLHttpRequest | null = null;
let changed: () => void = () => {};
const listeners = new Set<() => void>();

function lost(): Item[] {
  const names = JSON.parse(sessionStorage.getItem(UNFINISHED) ?? "[]") as [string, string, number][];
  return names.map(([folder, name, size], index) => ({
    id: -index - 1,
    folder,
    name,
    size,
    file: null,
    state: "lost",
    progress: 0,
    error: null,
    jobId: null,
  }));
}

/** By what a file is known again: another of its name may have become something else. */
function mark({ folder, name, size }: Upload): string {
  return [folder, name, size].join("\n");
}

function isFinished({ state, error }: Upload): boolean {
  return state === "done" || (state === "failed" && error instanceof Problem && REFUSALS.includes(error.status));
}

function update(now: readonly Item[]): void {
  items = now;
  const unfinished = items.filter((one) => !isFinished(one)).map((one) => [one.folder, one.name, one.size]);
  sessionStorage.setItem(UNFINISHED, JSON.stringify(unfinished));
  for (const listener of listeners) listener();
}

function change(id: number, fields: Partial<Item>): void {
  update(items.map((one) => (one.id === id ? { ...one, ...fields } : one)));
}

window.addEventListener("beforeunload", (event) => {
  if (items.some((one) => one.state === "sending" || one.state === "waiting")) event.preventDefault();
});

/** One file at a time: they share the same line anyway, and each is done sooner. */
function sendNext(): void {
  if (request) return;
  const item = items.find((one) => one.state === "waiting" && one.file);
  if (!item?.file) return;
  const archive = ARCHIVE.test(item.name);
  const form = new FormData();
  form.append("folder", item.folder);
  form.append(archive ? "file" : "files", item.file, item.name);
  // fetch cannot say how much of a body has been sent
  const sending = new XMLHttpRequest();
  request = sending;
  sending.open("POST", archive ? "/training/dataset/import" : "/training/dataset/upload");
  const value = token.get();
  if (value) sending.setRequestHeader("Authorization", `Bearer ${value}`);
  sending.responseType = "json";
  sending.upload.onprogress = (event) => change(item.id, { progress: event.loaded / (event.total || 1) });
  sending.onload = () => finish(item.id, outcome(sending.status, sending.response));
  sending.onerror = () => finish(item.id, { state: "failed", error: new TypeError("no answer") });
  sending.onabort = () => finish(item.id, null);
  change(item.id, { state: "sending", progress: 0, error: null });
  sending.send(form);
}

function finish(id: number, fields: Partial<Item> | null): void {
  request = null;
  if (fields) change(id, fields);
  changed();
  sendNext();
}

function outcome(status: number, body: Record<string, unknown> | null): Partial<Item> {
  if (status !== 200) return { state: "failed", error: new Problem(status, body ?? {}) };
  const jobId = typeof body?.job_id === "string" ? body.job_id : null;
  return { state: "done", progress: 1, jobId };
}

export const uploads = {
  add(folder: string, files: Iterable<File>): void {
    const added: Item[] = [...files].map((file) => ({
      id: next++,
      folder,
      name: file.name,
      size: file.size,
      file,
      state: "waiting",
      progress: 0,
      error: null,
      jobId: null,
    }));
    const found = new Set(added.map(mark));
    // what was lost, and is there again
    update([...items.filter((one) => one.state !== "lost" || !found.has(mark(one))), ...added]);
    sendNext();
  },
  pause(id: number): void {
    const item = items.find((one) => one.id === id);
    if (!item) return;
    change(id, { state: "paused", progress: 0 });
    if (item.state === "sending") request?.abort();
  },
  /** Goes on with what was paused or failed, from its beginning. */
  resume(id: number): void {
    change(id, { state: "waiting", progress: 0, error: null });
    sendNext();
  },
  remove(id: number): void {
    const item = items.find((one) => one.id === id);
    update(items.filter((one) => one.id !== id));
    if (item?.state === "sending") request?.abort();
  },
  /** Gives up on what a reload interrupted. */
  forget(folder: string): void {
    update(items.filter((one) => one.folder !== folder || one.state !== "lost"));
  },
  clearDone(folder: string): void {
    update(items.filter((one) => one.folder !== folder || one.state !== "done"));
  },
  /** Called whenever a file has ended, well or not. */
  onEnd(listener: () => void): void {
    changed = listener;
  },
};

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useUploads(folder: string): readonly Upload[] {
  const all = useSyncExternalStore(subscribe, () => items);
  return all.filter((one) => one.folder === folder);
}
