import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type RefObject, useRef } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { usePolling } from "../../api/live";
import { jobs, keys } from "../../api/queries";
import type { Job } from "../../api/schema";
import { useSpoken } from "../../i18n";
import { Badge, Button, Card, ErrorNote, Progress, StateBadge } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { isActive } from "../../ui/job-line";
import { failureOf, Said } from "../../ui/said";
import { useStored } from "../../ui/stored";
import { type Upload, type UploadState, uploads, useUploads } from "./uploads";

/** More files than this have a line that sums them up, and scroll by themselves. */
const MANY = 8;
const URGENCY: readonly UploadState[] = ["failed", "lost", "sending", "paused", "waiting", "done"];
const SHOWN_KINDS = ["dataset.download", "dataset.import"];

/** What is on its way: files of this tab, and downloads that the server does. */
export function Incoming({ folder }: { folder: string }) {
  const { t, f } = useSpoken();
  const mine = useUploads(folder);
  const { data } = useQuery({ ...jobs, refetchInterval: usePolling() });
  const [dismissed, setDismissed] = useStored<string[]>("dismissed", []);
  const known = data?.jobs ?? [];
  const fetching = known.filter(
    (one) =>
      one.subject === folder &&
      SHOWN_KINDS.includes(one.kind) &&
      one.state !== "succeeded" &&
      !dismissed.includes(one.id) &&
      (isActive(one) || !known.some((other) => takesOver(other, one))),
  );
  const dismiss = (id: string) => setDismissed([...dismissed.filter((one) => known.some((job) => job.id === one)), id]);
  if (!mine.length && !fetching.length) return null;
  const done = mine.filter((one) => one.state === "done").length;
  const many = mine.length > MANY;
  const lost = mine.filter((one) => one.state === "lost");
  return (
    <Card
      title={t.add.incoming}
      actions={
        done > 0 && (
          <Button kind="quiet" className="small" onClick={() => uploads.clearDone(folder)}>
            {t.add.clear}
          </Button>
        )
      }
    >
      {lost.length > 0 && <Lost folder={folder} lost={lost} />}
      {many && (
        <div className="stack small">
          <span className="muted">{t.add.storedOf(f.number(done), f.number(mine.length))}</span>
          <Progress value={(100 * done) / mine.length} label={t.add.incoming} />
        </div>
      )}
      <ul className={many ? "incoming many" : "incoming"} tabIndex={many ? 0 : undefined} aria-label={t.add.incoming}>
        {(many ? mine.toSorted((a, b) => URGENCY.indexOf(a.state) - URGENCY.indexOf(b.state)) : mine).map((one) => (
          <UploadRow key={one.id} upload={one} />
        ))}
        {fetching.map((one) => (
          <DownloadRow key={one.id} job={one} dismiss={() => dismiss(one.id)} />
        ))}
      </ul>
    </Card>
  );
}

/** Whether a job was asked later to fetch what another did not. */
function takesOver(later: Job, job: Job): boolean {
  const urls = later.parameters.urls;
  const missing = job.parameters.urls;
  if (later.subject !== job.subject || later.created_at <= job.created_at) return false;
  return Array.isArray(urls) && Array.isArray(missing) && missing.every((url) => urls.includes(url));
}

/** The page cannot keep files over a reload: which they were, and the way to choose them again. */
function Lost({ folder, lost }: { folder: string; lost: readonly Upload[] }) {
  const { t } = useSpoken();
  const input = useRef<HTMLInputElement>(null);
  return (
    <div className="note warn" role="status">
      <span>{t.add.cutOff(lost.length)}</span>
      <Button className="small" icon="upload" needs="dataset:write" onClick={() => input.current?.click()}>
        {t.add.chooseAgain}
      </Button>
      <Button kind="quiet" className="small" onClick={() => uploads.forget(folder)}>
        {t.add.forget}
      </Button>
      <Chooser input={input} folder={folder} />
    </div>
  );
}

function UploadRow({ upload }: { upload: Upload }) {
  const { t, f } = useSpoken();
  const { id, name, state } = upload;
  const sending = state === "sending" || state === "waiting";
  const detail =
    state === "failed" ? (
      <Said error={upload.error} />
    ) : state === "lost" ? (
      t.add.lost
    ) : state === "done" ? (
      ""
    ) : (
      t.add.states[state]
    );
  return (
    <li>
      <Icon name="file" />
      <div className="incoming-main">
        <div className="row tight spread">
          <span className="truncate" title={name}>
            {name}
          </span>
          <span className="small muted">{f.bytes(upload.size)}</span>
        </div>
        {state === "sending" && <Progress value={100 * upload.progress} label={t.add.progressOf(name)} />}
        <p
          className={state === "failed" || state === "lost" ? "small hint bad" : "small muted"}
          role={state === "failed" ? "alert" : undefined}
        >
          {detail}
          {state === "sending" && ` · ${f.percent(100 * upload.progress)}`}
        </p>
      </div>
      <div className="row tight">
        {sending && (
          <Button
            kind="quiet"
            compact
            icon="pause"
            className="small"
            aria-label={`${t.add.pause}: ${name}`}
            onClick={() => uploads.pause(id)}
          >
            {t.add.pause}
          </Button>
        )}
        {state === "paused" && (
          <Button
            kind="quiet"
            compact
            icon="play"
            className="small"
            aria-label={`${t.add.resume}: ${name}`}
            onClick={() => uploads.resume(id)}
          >
            {t.add.resume}
          </Button>
        )}
        {state === "failed" && (
          <Button
            kind="quiet"
            icon="retry"
            className="small"
            aria-label={`${t.common.again}: ${name}`}
            onClick={() => uploads.resume(id)}
          >
            {t.common.again}
          </Button>
        )}
        {state === "done" ? (
          <Badge tone="good">{t.add.states.done}</Badge>
        ) : (
          <Button
            kind="quiet"
            compact
            icon="close"
            className="small"
            aria-label={`${t.add.remove}: ${name}`}
            onClick={() => uploads.remove(id)}
          >
            {t.add.remove}
          </Button>
        )}
      </div>
    </li>
  );
}

function DownloadRow({ job, dismiss }: { job: Job; dismiss: () => void }) {
  const { t, f } = useSpoken();
  const client = useQueryClient();
  const active = isActive(job);
  const name = String((job.parameters.urls as string[] | undefined)?.[0] ?? t.jobs.kinds(job.kind));
  const refresh = () => client.invalidateQueries({ queryKey: keys.jobs });
  const pause = useAct(() =>
    ask(api.POST("/training/jobs/{job_id}/cancel", { params: { path: { job_id: job.id } } })).then(refresh),
  );
  const again = useAct(async () => {
    const urls = job.parameters.urls as string[];
    await ask(api.POST("/training/dataset/download", { body: { folder: job.subject, urls } }));
    await refresh();
  });
  return (
    <li>
      <Icon name="link" />
      <div className="incoming-main">
        <div className="row tight spread">
          <span className="truncate">{name}</span>
          <StateBadge state={job.state} />
        </div>
        {job.state === "running" && <Progress value={job.progress} label={t.add.progressOf(name)} />}
        <p className={job.error ? "small hint bad" : "small muted"} role={job.error ? "alert" : undefined}>
          {job.error ? <Said error={failureOf(job)} /> : t.doing(job.message)}
          {job.state === "running" && ` · ${f.percent(job.progress)}`}
        </p>
        <ErrorNote error={pause.error ?? again.error} />
      </div>
      <div className="row tight">
        {active && (
          <Button
            kind="quiet"
            compact
            icon="pause"
            className="small"
            needs="dataset:write"
            busy={pause.busy || job.stop_requested}
            aria-label={`${t.add.pause}: ${name}`}
            onClick={() => pause.run()}
          >
            {t.add.pause}
          </Button>
        )}
        {!active && Array.isArray(job.parameters.urls) && (
          <Button
            kind="quiet"
            icon="retry"
            className="small"
            needs="dataset:write"
            busy={again.busy}
            onClick={() => again.run()}
          >
            {job.state === "stopped" ? t.add.resume : t.common.again}
          </Button>
        )}
        {!active && (
          <Button kind="quiet" compact icon="close" className="small" aria-label={`${t.add.remove}: ${name}`} onClick={dismiss}>
            {t.add.remove}
          </Button>
        )}
      </div>
    </li>
  );
}

/** What the system shows to choose files with; a button elsewhere opens it. */
export function Chooser({ input, folder }: { input: RefObject<HTMLInputElement | null>; folder: string }) {
  const { t } = useSpoken();
  return (
    <input
      ref={input}
      type="file"
      multiple
      hidden
      accept="audio/*,video/*,.zip,.tar,.gz,.tgz,.bz2,.xz"
      aria-label={t.add.choose}
      onChange={(event) => {
        if (event.target.files) uploads.add(folder, event.target.files);
        event.target.value = "";
      }}
    />
  );
}
