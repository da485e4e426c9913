import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type DragEvent, type FormEvent, useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { useAct } from "../../api/act";
import { api, ask, Problem } from "../../api/client";
import { usePolling } from "../../api/live";
import { useMay } from "../../api/may";
import { keys, recordings } from "../../api/queries";
import type { Recording } from "../../api/schema";
import { PlayButton } from "../../audio/playback";
import { useSpoken } from "../../i18n";
import { datasetPath } from "../../names";
import { Button, Card, Empty, ErrorNote, Field, Skeleton, Wide } from "../../ui/basics";
import { focusOn } from "../../ui/focus";
import { Icon } from "../../ui/icons";
import { toast } from "../../ui/toasts";
import { filesOf } from "./dropped";
import { Chooser, Incoming } from "./incoming";
import { uploads } from "./uploads";
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
  const may = useMay();
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const read = useAct(async (dropped: DataTransfer) => {
    const files = await filesOf(dropped);
    if (!files.length) throw new Error(t.add.nothingDropped);
    uploads.add(folder, files);
  });
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    read.run(event.dataTransfer);
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
        onDrop={may("dataset:write") ? drop : (event) => event.preventDefault()}
      >
        <Icon name="upload" />
        <p>{t.add.drop}</p>
        <Button needs="dataset:write" onClick={() => input.current?.click()}>
          {t.add.choose}
        </Button>
        <Chooser input={input} folder={folder} />
      </div>
      <ErrorNote error={read.error} />
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
            <span className="truncate small" title={one.url}>
              {one.url}
            </span>
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
              <td className="muted added">{f.ago(one.added_at)}</td>
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
  const remove = useAct(async (row: HTMLElement | null) => {
    const params = { path: { source: recording.source }, query: { folder } };
    await ask(api.DELETE("/training/dataset/recordings/{source}", { params }));
    toast(t.dataset.recordingDeleted(recording.title || recording.source));
    const neighbour = row?.nextElementSibling ?? row?.previousElementSibling;
    focusOn(neighbour?.querySelector("button") ?? row?.closest(".card")?.querySelector("h2"));
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
        onClick={(event) => (sure ? remove.run(event.currentTarget.closest("tr")) : setSure(true))}
      >
        {sure ? t.dataset.reallyDelete : t.common.delete}
      </Button>
      <ErrorNote error={remove.error} />
    </>
  );
}
