import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type DragEvent, type FormEvent, useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { useAct } from "../../api/act";
import { api, ask, Problem } from "../../api/client";
import { usePolling } from "../../api/live";
import { jobs, keys, recordings } from "../../api/queries";
import type { Job, Recording } from "../../api/schema";
import { PlayButton } from "../../audio/playback";
import { useSpoken } from "../../i18n";
import { datasetPath } from "../../names";
import { Badge, Button, Card, Empty, ErrorNote, Field, Progress, Skeleton, StateBadge, Wide } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { failureOf, Said } from "../../ui/said";
import { toast } from "../../ui/toasts";
import { type Upload, uploads, useUploads } from "./uploads";
import "./recordings.css";

/** Audio into a dataset: files dropped here, links, and what there is already. */
export function Recordings({ folder }: { folder: string }) {
  const { t } = useSpoken();
  const client = useQueryClient();
  useEffect(() => {
    uploads.onEnd(() => {
      for (const queryKey of [keys.recordings, keys.datasets, keys.jobs]) client.invalidateQueries({ queryKey });
    });
  }, [client]);
  return (
    <div className="grid aside">
      <div className="stack">
        <Drop folder={folder} />
        <Links folder={folder} />
      </div>
      <div className="stack">
        <Incoming folder={folder} />
        <Card
          className="flush"
          title={t.dataset.recordings}
          actions={
            <Link href={`${datasetPath(folder)}/segment`} className="button small">
              {t.dataset.tabs.segmenting}
              <Icon name="next" />
            </Link>
          }
        >
          <RecordingTable folder={folder} />
        </Card>
      </div>
    </div>
  );
}

function Drop({ folder }: { folder: string }) {
  const { t } = useSpoken();
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    uploads.add(folder, event.dataTransfer.files);
  };
  return (
    <Card title={t.add.files}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: files can be chosen by the button inside as well */}
      <div
        className={over ? "drop over" : "drop"}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={drop}
      >
        <Icon name="upload" />
        <p>{t.add.drop}</p>
        <Button needs="dataset:write" onClick={() => input.current?.click()}>
          {t.add.choose}
        </Button>
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
      </div>
      <p className="hint">{t.add.filesHint}</p>
    </Card>
  );
}

interface Refused {
  url: string;
  problem: Problem;
}

function Links({ folder }: { folder: string }) {
  const { t } = useSpoken();
  const client = useQueryClient();
  const [text, setText] = useState("");
  const [refused, setRefused] = useState<Refused[]>([]);
  const urls = [...new Set(text.split(/\s+/).filter(Boolean))];
  // a job for each, so that each has its own progress, and one that is refused does not hold up the others
  const start = useAct(async () => {
    const failed: Refused[] = [];
    for (const url of urls) {
      try {
        await ask(api.POST("/training/dataset/download", { body: { folder, urls: [url] } }));
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        failed.push({ url, problem: error });
      }
    }
    setRefused(failed);
    setText(failed.map((one) => one.url).join("\n"));
    await client.invalidateQueries({ queryKey: keys.jobs });
    return true;
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    start.run();
  };
  return (
    <Card title={t.add.links}>
      <form className="stack" onSubmit={submit}>
        <Field label={t.add.linksLabel} hint={t.add.linksHint}>
          {(ids) => (
            <textarea
              {...ids}
              rows={4}
              value={text}
              spellCheck={false}
              placeholder="https://youtube.com/watch?v=…"
              onChange={(event) => setText(event.target.value)}
            />
          )}
        </Field>
        {refused.map((one) => (
          <div key={one.url} className="refused">
            <span className="truncate small">{one.url}</span>
            <ErrorNote error={one.problem} />
          </div>
        ))}
        <ErrorNote error={start.error} />
        <Button type="submit" kind="primary" icon="download" needs="dataset:write" busy={start.busy} disabled={!urls.length}>
          {t.add.fetch(urls.length)}
        </Button>
      </form>
    </Card>
  );
}

const SHOWN_KINDS = ["dataset.download", "dataset.import"];

/** What is on its way: files of this tab, and downloads that the server does. */
function Incoming({ folder }: { folder: string }) {
  const { t } = useSpoken();
  const mine = useUploads(folder);
  const { data } = useQuery({ ...jobs, refetchInterval: usePolling() });
  const [dismissed, setDismissed] = useState<string[]>([]);
  const fetching = (data?.jobs ?? []).filter(
    (one) =>
      one.subject === folder && SHOWN_KINDS.includes(one.kind) && one.state !== "succeeded" && !dismissed.includes(one.id),
  );
  if (!mine.length && !fetching.length) return null;
  const done = mine.some((one) => one.state === "done");
  return (
    <Card
      title={t.add.incoming}
      actions={
        done && (
          <Button kind="quiet" className="small" onClick={() => uploads.clearDone(folder)}>
            {t.add.clear}
          </Button>
        )
      }
    >
      <ul className="incoming">
        {mine.map((one) => (
          <UploadRow key={one.id} upload={one} />
        ))}
        {fetching.map((one) => (
          <DownloadRow key={one.id} job={one} dismiss={() => setDismissed([...dismissed, one.id])} />
        ))}
      </ul>
    </Card>
  );
}

function UploadRow({ upload }: { upload: Upload }) {
  const { t, f } = useSpoken();
  const { id, name, state } = upload;
  const sending = state === "sending" || state === "waiting";
  const detail =
    state === "failed" ? upload.error || t.common.unreachable : state === "lost" ? t.add.lost : t.add.states[state];
  return (
    <li>
      <Icon name="file" />
      <div className="incoming-main">
        <div className="row tight spread">
          <span className="truncate">{name}</span>
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
  const active = job.state === "running" || job.state === "queued";
  const name = String((job.parameters.urls as string[] | undefined)?.[0] ?? t.jobs.kinds(job.kind));
  const refresh = () => client.invalidateQueries({ queryKey: keys.jobs });
  const pause = useAct(() =>
    ask(api.POST("/training/jobs/{job_id}/cancel", { params: { path: { job_id: job.id } } })).then(refresh),
  );
  const again = useAct(async () => {
    const urls = job.parameters.urls as string[];
    await ask(api.POST("/training/dataset/download", { body: { folder: job.subject, urls } }));
    dismiss();
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
          {job.error ? <Said error={failureOf(job)} /> : job.message}
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

function RecordingTable({ folder }: { folder: string }) {
  const { t, f } = useSpoken();
  const { data, error, isPending, refetch } = useQuery({ ...recordings(folder), refetchInterval: usePolling() });
  if (isPending) return <Skeleton rows={3} />;
  if (error) return <ErrorNote error={error} again={() => refetch()} />;
  if (!data.recordings.length) {
    return (
      <Empty icon="file" title={t.dataset.noRecordings}>
        {t.dataset.noRecordingsHint}
      </Empty>
    );
  }
  return (
    <Wide label={t.dataset.recordings}>
      <table>
        <thead>
          <tr>
            <th scope="col">{t.dataset.recording}</th>
            <th scope="col" className="numeric">
              {t.dataset.length}
            </th>
            <th scope="col" className="numeric">
              {t.dataset.segments}
            </th>
            <th scope="col">{t.dataset.added}</th>
            <th scope="col">
              <span className="hidden-text">{t.common.actions}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {data.recordings.map((one) => (
            <tr key={one.source}>
              <td>
                <div className="row tight">
                  <PlayButton url={one.audio_url} label={one.title || one.source} />
                  <div className="recording-name">
                    <span className="truncate">{one.title || one.source}</span>
                    <span className="truncate small muted">
                      {[one.uploader, one.licence].filter(Boolean).join(" · ") || one.source}
                    </span>
                  </div>
                </div>
              </td>
              <td className="numeric">{f.clock(one.duration_s)}</td>
              <td className="numeric">{f.number(one.segments)}</td>
              <td className="muted">{f.ago(one.added_at)}</td>
              <td className="numeric">
                <DeleteRecording folder={folder} recording={one} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}

function DeleteRecording({ folder, recording }: { folder: string; recording: Recording }) {
  const { t } = useSpoken();
  const client = useQueryClient();
  const [sure, setSure] = useState(false);
  const remove = useAct(async () => {
    const params = { path: { source: recording.source }, query: { folder } };
    await ask(api.DELETE("/training/dataset/recordings/{source}", { params }));
    toast(t.dataset.recordingDeleted(recording.title || recording.source));
    for (const queryKey of [keys.recordings, keys.segments, keys.datasets]) client.invalidateQueries({ queryKey });
  });
  return (
    <>
      <Button
        kind={sure ? "danger" : "quiet"}
        compact={!sure}
        icon="trash"
        className="small"
        needs="dataset:write"
        busy={remove.busy}
        aria-label={sure ? undefined : `${t.common.delete}: ${recording.title || recording.source}`}
        onBlur={() => setSure(false)}
        onClick={() => (sure ? remove.run() : setSure(true))}
      >
        {sure ? t.dataset.reallyDelete : t.common.delete}
      </Button>
      <ErrorNote error={remove.error} />
    </>
  );
}
