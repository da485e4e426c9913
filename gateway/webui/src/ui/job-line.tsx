import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "wouter";
import { useAct } from "../api/act";
import { api, ask } from "../api/client";
import { usePolling } from "../api/live";
import { LOOK, type Scope, useMay } from "../api/may";
import { jobs, keys } from "../api/queries";
import type { Job } from "../api/schema";
import { useSpoken } from "../i18n";
import { Button, ErrorNote, Progress, StateBadge } from "./basics";
import { failureOf } from "./said";

export const isActive = (job: Job): boolean => job.state === "running" || job.state === "queued";

/** The newest job of a kind on a dataset or model. */
export function useNewestJob(kind: string, subject: string): Job | undefined {
  const { data } = useQuery({ ...jobs, refetchInterval: usePolling(), enabled: useMay()(...LOOK.jobs) });
  return data?.jobs.find((one) => one.kind === kind && (subject === "" || one.subject === subject));
}

export function scopeOf(kind: string): Scope {
  return kind.startsWith("trainer.") ? "training" : "dataset:write";
}

export function CancelButton({ job, className = "small" }: { job: Job; className?: string }) {
  const { t } = useSpoken();
  const client = useQueryClient();
  const cancel = useAct(async () => {
    await ask(api.POST("/training/jobs/{job_id}/cancel", { params: { path: { job_id: job.id } } }));
    await client.invalidateQueries({ queryKey: keys.jobs });
  });
  return (
    <>
      <Button
        icon="stop"
        className={className}
        needs={scopeOf(job.kind)}
        busy={cancel.busy || job.stop_requested}
        onClick={() => cancel.run()}
      >
        {job.stop_requested ? t.jobs.stopping : t.jobs.cancel}
      </Button>
      <ErrorNote error={cancel.error} />
    </>
  );
}

/** How a job stands, in one block: what it does, how far it is, a way to stop it and a way to its log. */
export function JobLine({ job }: { job: Job }) {
  const { t, f } = useSpoken();
  const left = job.remaining_seconds === null ? "" : ` · ${t.jobs.left(f.span(job.remaining_seconds))}`;
  return (
    <div className="stack job-line" data-state={job.state}>
      <div className="row spread">
        <span className="row">
          <StateBadge state={job.state} />
          <Link href={`/jobs/${job.id}`}>{t.jobs.kinds(job.kind)}</Link>
          {job.state === "running" && (
            <span className="muted small">
              {f.percent(job.progress)}
              {left}
            </span>
          )}
        </span>
        {isActive(job) && <CancelButton job={job} />}
      </div>
      {isActive(job) && <Progress value={job.progress} label={t.jobs.kinds(job.kind)} />}
      {isActive(job) && job.message && <p className="small muted truncate">{t.doing(job.message)}</p>}
      <ErrorNote error={failureOf(job)} />
    </div>
  );
}
