import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useState } from "react";
import { follow } from "./events";
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

/** Follows all jobs: puts each into what the pages show, and has what it changes read anew, at most so often. */
export function Live({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [connected, setConnected] = useState(false);
  useEffect(() => {
    const waiting = new Map<string, ReturnType<typeof setTimeout>>();
    const refresh = (kind: string) => {
      if (waiting.has(kind)) return;
      const again = () => {
        waiting.delete(kind);
        for (const queryKey of CHANGED_BY[kind] ?? []) client.invalidateQueries({ queryKey });
      };
      waiting.set(kind, setTimeout(again, AGAIN_AFTER));
    };
    const stop = follow({
      path: "/training/events",
      connected: (now) => {
        setConnected(now);
        // whatever happened while nobody listened
        if (now) client.invalidateQueries({ refetchType: "active" });
      },
      on: (event) => {
        if (event.name !== "job") return;
        const job = JSON.parse(event.data) as Job;
        if (remember(client, job)) refresh(job.kind);
      },
    });
    return () => {
      stop();
      for (const timer of waiting.values()) clearTimeout(timer);
    };
  }, [client]);
  return <Connected value={connected}>{children}</Connected>;
}

/** Puts a job where the pages look for it; false when nothing about it is new. */
export function remember(client: QueryClient, job: Job): boolean {
  const known = client.getQueryData<Jobs>(keys.jobs);
  const before = known?.jobs.find((one) => one.id === job.id);
  client.setQueryData<Job>([...keys.job, job.id], job);
  if (known) {
    const others = known.jobs.filter((one) => one.id !== job.id);
    const jobs = [job, ...others].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
    client.setQueryData<Jobs>(keys.jobs, { jobs, total: before ? known.total : known.total + 1 });
  }
  return !before || before.state !== job.state || before.progress !== job.progress || before.message !== job.message;
}
