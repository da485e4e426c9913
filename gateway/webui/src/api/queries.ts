import { queryOptions } from "@tanstack/react-query";
import { api, ask } from "./client";
import type { Segment, TrainingRequest } from "./schema";

/** Names under which answers are kept; more specific ones begin with these. */
export const keys = {
  me: ["me"],
  datasets: ["datasets"],
  voices: ["voices"],
  recordings: ["recordings"],
  segments: ["segments"],
  runs: ["runs"],
  metrics: ["metrics"],
  checkpoints: ["checkpoints"],
  history: ["history"],
  votes: ["votes"],
  estimate: ["estimate"],
  jobs: ["jobs"],
  job: ["job"],
} as const;

export const me = queryOptions({
  queryKey: keys.me,
  queryFn: () => ask(api.GET("/training/me")),
  staleTime: 60_000,
});

export const datasets = queryOptions({ queryKey: keys.datasets, queryFn: () => ask(api.GET("/training/datasets")) });

export const voices = queryOptions({ queryKey: keys.voices, queryFn: () => ask(api.GET("/training/voices")) });

export const recordings = (folder: string) =>
  queryOptions({
    queryKey: [...keys.recordings, folder],
    queryFn: () => ask(api.GET("/training/dataset/recordings", { params: { query: { folder } } })),
  });

const FIRST_PAGE = 200;
const PAGE = 2500;

/** Datasets of which only the first segments are there so far. */
export const partial = new Set<string>();

/** All segments of a dataset, in pages; the first is small and shown as soon as it is there. */
export const segments = (folder: string) =>
  queryOptions({
    queryKey: [...keys.segments, folder],
    queryFn: async ({ signal, client, queryKey }) => {
      const fresh = client.getQueryData(queryKey) === undefined;
      const all: Segment[] = [];
      try {
        for (;;) {
          const query = { folder, offset: all.length, limit: all.length ? PAGE : FIRST_PAGE };
          const page = await ask(api.GET("/training/dataset/segments", { params: { query }, signal }));
          all.push(...page.segments);
          if (!page.segments.length || all.length >= page.total) return all;
          if (fresh && !partial.has(folder)) {
            partial.add(folder);
            client.setQueryData(queryKey, [...all]);
          }
        }
      } finally {
        partial.delete(folder);
      }
    },
    structuralSharing: false,
  });

export const runs = (modelName = "") =>
  queryOptions({
    queryKey: [...keys.runs, modelName],
    queryFn: () =>
      ask(api.GET("/training/runs", { params: { query: modelName ? { model_name: modelName, limit: 100 } : { limit: 100 } } })),
  });

export const metrics = (jobId: string) =>
  queryOptions({
    queryKey: [...keys.metrics, jobId],
    queryFn: () => ask(api.GET("/training/metrics", { params: { query: { job_id: jobId } } })),
    structuralSharing: false,
  });

export const checkpoints = queryOptions({
  queryKey: keys.checkpoints,
  queryFn: () => ask(api.GET("/training/checkpoints")),
});

export const history = (checkpoint = "", limit = 50) =>
  queryOptions({
    queryKey: [...keys.history, checkpoint, limit],
    queryFn: () =>
      ask(api.GET("/training/inference/history", { params: { query: checkpoint ? { checkpoint, limit } : { limit } } })),
  });

export const votes = (checkpoint: string, against: string) =>
  queryOptions({
    queryKey: [...keys.votes, checkpoint, against],
    queryFn: () => ask(api.GET("/training/inference/votes", { params: { query: { checkpoint, against } } })),
    enabled: checkpoint !== "",
  });

export const estimate = (body: TrainingRequest) =>
  queryOptions({
    queryKey: [...keys.estimate, body],
    queryFn: () => ask(api.POST("/training/estimate", { body })),
    retry: false,
  });

export const jobs = queryOptions({
  queryKey: keys.jobs,
  queryFn: () => ask(api.GET("/training/jobs", { params: { query: { limit: 200 } } })),
});

/** The newest job of a kind on a dataset or model, however many others came after it. */
export const newestJob = (kind: string, subject: string) =>
  queryOptions({
    queryKey: [...keys.jobs, kind, subject],
    queryFn: async () => {
      const { jobs } = await ask(api.GET("/training/jobs", { params: { query: { kind, subject, limit: 1 } } }));
      return jobs[0] ?? null;
    },
  });

export const job = (id: string) =>
  queryOptions({
    queryKey: [...keys.job, id],
    queryFn: () => ask(api.GET("/training/jobs/{job_id}", { params: { path: { job_id: id } } })),
  });
