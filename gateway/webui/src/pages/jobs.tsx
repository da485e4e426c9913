import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useLocation, useParams } from "wouter";
import { useAct } from "../api/act";
import { api, ask } from "../api/client";
import { usePolling } from "../api/live";
import { job as jobQuery, jobs as jobsQuery, keys } from "../api/queries";
import type { Job, RunParameters } from "../api/schema";
import { useSpoken } from "../i18n";
import { bareName, datasetPath } from "../names";
import { Button, Card, Empty, ErrorNote, Figure, Page, Progress, Skeleton, StateBadge, Wide } from "../ui/basics";
import { CancelButton, isActive, JobLine, scopeOf } from "../ui/job-line";
import { Log } from "../ui/log";
import { useParameters } from "../ui/parameters";
import { failureOf, Said } from "../ui/said";

const STATES = ["running", "queued", "failed", "stopped", "succeeded"] as const;

/** All background work, live; or one job with its log. */
export default function Jobs() {
  const { id } = useParams<{ id?: string }>();
  return id ? <OneJob key={id} id={id} /> : <AllJobs />;
}

function AllJobs() {
  const { t, f } = useSpoken();
  const [parameters, setParameters] = useParameters();
  const { data, error, isPending, refetch } = useQuery({ ...jobsQuery, refetchInterval: usePolling() });
  const state = parameters.get("state") ?? "";
  const shown = (data?.jobs ?? []).filter((one) => !state || one.state === state);
  return (
    <Page
      title={t.places.jobs}
      lead={t.jobs.lead}
      actions={
        <select aria-label={t.train.state} value={state} onChange={(event) => setParameters({ state: event.target.value })}>
          <option value="">{t.jobs.all}</option>
          {STATES.map((one) => (
            <option key={one} value={one}>
              {t.state[one]}
            </option>
          ))}
        </select>
      }
    >
      <ErrorNote error={error} again={() => refetch()} />
      <Card className="flush">
        {isPending && <Skeleton rows={6} />}
        {data && !shown.length && (
          <Empty icon="jobs" title={t.jobs.none}>
            {t.jobs.noneHint}
          </Empty>
        )}
        {shown.length > 0 && (
          <Wide label={t.places.jobs}>
            <table>
              <thead>
                <tr>
                  <th scope="col">{t.jobs.job}</th>
                  <th scope="col">{t.jobs.subject}</th>
                  <th scope="col">{t.train.state}</th>
                  <th scope="col">{t.jobs.progress}</th>
                  <th scope="col">{t.jobs.created}</th>
                  <th scope="col">
                    <span className="hidden-text">{t.common.actions}</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {shown.map((one) => (
                  <tr key={one.id}>
                    <td>
                      <Link href={`/jobs/${one.id}`}>{t.jobs.kinds(one.kind)}</Link>
                    </td>
                    <td>
                      <SubjectLink job={one} />
                    </td>
                    <td>
                      <StateBadge state={one.state} />
                    </td>
                    <td className="job-progress">
                      {isActive(one) ? (
                        <>
                          <Progress value={one.progress} label={`${t.jobs.kinds(one.kind)} ${bareName(one.subject)}`} />
                          <span className="small muted">
                            {f.percent(one.progress)} {t.doing(one.message)}
                          </span>
                        </>
                      ) : (
                        <span className={one.error ? "small hint bad" : "small muted"}>
                          {one.error ? <Said error={failureOf(one)} /> : t.doing(one.message)}
                        </span>
                      )}
                    </td>
                    <td className="muted">{f.ago(one.created_at)}</td>
                    <td className="numeric">{isActive(one) && <CancelButton job={one} />}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Wide>
        )}
      </Card>
    </Page>
  );
}

function SubjectLink({ job }: { job: Job }) {
  const dataset = job.subject.startsWith("datasets/");
  return (
    <Link href={dataset ? datasetPath(job.subject) : `/checkpoints?model=${encodeURIComponent(job.subject)}`}>
      {bareName(job.subject)}
    </Link>
  );
}

function OneJob({ id }: { id: string }) {
  const { t, f } = useSpoken();
  const { data: job, error, isPending, refetch } = useQuery({ ...jobQuery(id), refetchInterval: usePolling() });
  if (isPending) return <Skeleton rows={4} height={80} />;
  if (!job) {
    return (
      <Page title={t.jobs.job} actions={<Link href="/jobs">{t.jobs.toAll}</Link>}>
        <ErrorNote error={error} again={() => refetch()} />
      </Page>
    );
  }
  return (
    <Page
      title={t.jobs.kinds(job.kind)}
      lead={<SubjectLink job={job} />}
      actions={
        <Link href="/jobs" className="button quiet">
          {t.jobs.toAll}
        </Link>
      }
    >
      <Card>
        <JobLine job={job} />
        {job.state === "failed" && <WhatToDo job={job} />}
        {job.state === "stopped" && <TryAgain job={job} />}
        <dl className="figures">
          <Figure label={t.jobs.created}>{f.date(job.created_at)}</Figure>
          {job.started_at && (
            <Figure label={t.jobs.waited}>{f.span((Date.parse(job.started_at) - Date.parse(job.created_at)) / 1000)}</Figure>
          )}
          {job.started_at && job.ended_at && (
            <Figure label={t.jobs.took}>{f.span((Date.parse(job.ended_at) - Date.parse(job.started_at)) / 1000)}</Figure>
          )}
          <Figure label={t.jobs.attempts}>{f.number(job.attempts)}</Figure>
        </dl>
        <details>
          <summary>{t.jobs.details}</summary>
          <pre className="log">{JSON.stringify({ id: job.id, parameters: job.parameters, result: job.result }, null, 2)}</pre>
        </details>
      </Card>
      <Card title={t.jobs.log}>
        <Log id={id} ended={!isActive(job)} />
      </Card>
    </Page>
  );
}

/** What helps after a failure of this kind, with the way there. */
function WhatToDo({ job }: { job: Job }) {
  const { t } = useSpoken();
  return (
    <div className="stack">
      <h3>{t.jobs.whatToDo}</h3>
      <p className="small">{t.jobs.advice(job.kind)}</p>
      <TryAgain job={job} />
    </div>
  );
}

/** Asks for the same again; what was finished is not done twice. */
function TryAgain({ job }: { job: Job }) {
  const { t } = useSpoken();
  const client = useQueryClient();
  const [, navigate] = useLocation();
  const again = useAct(async () => {
    const started = await repeat(job);
    await client.invalidateQueries({ queryKey: keys.jobs });
    if (started) navigate(`/jobs/${started.job_id}`);
  });
  if (job.kind === "dataset.import") {
    return (
      <Link className="button" href={datasetPath(job.subject)}>
        {t.add.files}
      </Link>
    );
  }
  return (
    <>
      <ErrorNote error={again.error} />
      <div className="actions">
        <Button icon="retry" needs={scopeOf(job.kind)} busy={again.busy} onClick={() => again.run()}>
          {job.state === "stopped" ? t.add.resume : t.common.again}
        </Button>
      </div>
    </>
  );
}

function repeat(job: Job): Promise<{ job_id: string } | undefined> {
  const folder = job.subject;
  const given = job.parameters;
  switch (job.kind) {
    case "dataset.download":
      return ask(api.POST("/training/dataset/download", { body: { folder, urls: given.urls as string[] } }));
    case "dataset.segment": {
      const value = (name: string, usual: number) => (typeof given[name] === "number" ? given[name] : usual);
      const min_duration = value("min_duration_seconds", 7);
      const max_duration = value("max_duration_seconds", 12);
      const vad_threshold = value("vad_threshold_db", -40);
      return ask(api.POST("/training/dataset/segment", { body: { folder, min_duration, max_duration, vad_threshold } }));
    }
    case "dataset.transcribe":
      return ask(
        api.POST("/training/dataset/transcribe", {
          body: { folder, force: false, language: (given.language as string | undefined) || "pt" },
        }),
      );
    case "trainer.train": {
      const body = given as unknown as RunParameters;
      return ask(api.GET("/training/checkpoints", { params: { query: { model_name: body.model_name } } })).then((made) =>
        ask(api.POST("/training/start", { body: { ...body, resume: made.length > 0, overwrite: false } })),
      );
    }
    default:
      return Promise.resolve(undefined);
  }
}
