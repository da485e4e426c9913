import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useState } from "react";
import { follow } from "./events";
import { LOOK, useMay } from "./may";
import { keys } from "./queries";
import type { Job, Jobs } from "./schema";

/** Whether news arrive by themselves; while they do not, what is shown is asked for again every few seconds. */
const Connected = createContext(false);

export function usePolling(milliseconds = 3000): number | false {
  return useContext(Connected) ? false : milliseconds;
}

export function useConnected(): boolean {
  return useContext(Connected);
}

/** What a job of a kind changes, besides itself. */
const CHANGED_BY: Record<string, readonly (readonly string[])[]> = {
  "dataset.download": [keys.datasets, keys.recordings],
  "dataset.import": [keys.datasets, keys.segments, keys.recordings],
  "dataset.segment": [keys.datasets, keys.segments, keys.recordings],
  "dataset.transcribe": [keys.datasets, keys.segments],
  "trainer.train": [keys.voices, keys.runs, keys.metrics, keys.checkpoints],
};

const AGAIN_AFTER = 1500;
/** Lists of thousands of rows, while the job that changes them still runs. */
const LARGE_AGAIN_AFTER = 10_000;

/** Has what jobs change read anew: soon, but however many changes there are, only so often. */
class Refreshing {
  private readonly waiting = new Map<string, { timer: ReturnType<typeof setTimeout>; at: number }>();
  private readonly seen = new Map<string, string>();

  constructor(private readonly client: QueryClient) {}

  after(job: Job): void {
    // By its own memory: what the pages show may know already, from the stream of the job alone.
    const state = [job.state, job.progress, job.message].join();
    const before = this.seen.get(job.id);
    this.seen.set(job.id, state);
    if (before === state) return;
    const running = job.state === "running";
    for (const queryKey of CHANGED_BY[job.kind] ?? []) {
      this.soon(queryKey, running && queryKey === keys.segments ? LARGE_AGAIN_AFTER : AGAIN_AFTER);
    }
  }

  stop(): void {
    for (const { timer } of this.waiting.values()) clearTimeout(timer);
  }

  private soon(queryKey: readonly string[], milliseconds: number): void {
    const name = queryKey.join();
    const at = performance.now() + milliseconds;
    const before = this.waiting.get(name);
    if (before && before.at <= at) return;
    clearTimeout(before?.timer);
    const timer = setTimeout(() => {
      this.waiting.delete(name);
      this.client.invalidateQueries({ queryKey });
    }, milliseconds);
    this.waiting.set(name, { timer, at });
  }
}

/** Follows all jobs: puts each into what the pages show, and has what it changes read anew. */
export function Live({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [connected, setConnected] = useState(false);
  const allowed = useMay()(...LOOK.jobs);
  useEffect(() => {
    if (!allowed) return;
    const refreshing = new Refreshing(client);
    let before = false;
    const stop = follow({
      path: "/training/events",
      connected: (now) => {
        setConnected(now);
        // whatever happened while nobody listened
        if (now && before) client.invalidateQueries();
        before ||= now;
      },
      on: (event) => {
        if (event.name !== "job") return;
        const job = JSON.parse(event.data) as Job;
        remember(client, job);
        refreshing.after(job);
      },
    });
    return () => {
      stop();
      refreshing.stop();
    };
  }, [client, allowed]);
  return <Connected value={connected}>{children}</Connected>;
}

/** Puts a job where the pages look for it. */
export function remember(client: QueryClient, job: Job): void {
  const known = client.getQueryData<Jobs>(keys.jobs);
  client.setQueryData<Job>([...keys.job, job.id], job);
  if (!known) return;
  const others = known.jobs.filter((one) => one.id !== job.id);
  const jobs = [job, ...others].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  client.setQueryData<Jobs>(keys.jobs, { jobs, total: others.length < known.jobs.length ? known.total : known.total + 1 });
}
