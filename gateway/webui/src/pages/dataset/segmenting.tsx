import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { Suspense, useMemo, useState } from "react";
import { Link } from "wouter";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { LOOK, useMay } from "../../api/may";
import { keys, newestJob, recordings, segments as segmentsQuery } from "../../api/queries";
import type { Job, Segment } from "../../api/schema";
import { useSpoken } from "../../i18n";
import { bareName, datasetPath } from "../../names";
import { Button, Card, Dialog, Empty, ErrorNote, Field, Figure, Knob, Skeleton } from "../../ui/basics";
import { isActive, JobLine, useNewestJob } from "../../ui/job-line";
import { lazily } from "../../ui/lazily";
import { useParameters } from "../../ui/parameters";
import { useSettled, useStored } from "../../ui/stored";
import { Timeline } from "./timeline";

const Histogram = lazily(() => import("../../plots/histogram"));

const DEFAULTS = { min_duration: 7, max_duration: 12, vad_threshold: -40 };
const LANGUAGES = ["pt", "en", "es", "fr", "de", "it"] as const;
const WHISPERS = ["", "tiny", "base", "small", "medium", "large-v3", "turbo"] as const;
const SETTLE_MILLISECONDS = 60;

/** The knobs of segmentation, what they would make of one recording, and the jobs that do it to all. */
export default function Segmenting({ folder }: { folder: string }) {
  const { t, f } = useSpoken();
  const client = useQueryClient();
  const may = useMay();
  const last = useQuery({ ...newestJob("dataset.segment", folder), enabled: may(...LOOK.jobs) });
  const job = useNewestJob("dataset.segment", folder) ?? last.data ?? undefined;
  const [knobs, setKnobs] = useKnobs(folder, job);
  const [loss, setLoss] = useState<Loss | null>(null);
  const [parameters, setParameters] = useParameters();
  const found = useQuery(recordings(folder));
  const source = parameters.get("recording") ?? found.data?.recordings[0]?.source ?? "";
  const recording = found.data?.recordings.find((one) => one.source === source);
  const wrong = flaw(knobs, t);
  const settled = useSettled(knobs, SETTLE_MILLISECONDS);
  const preview = useQuery({
    queryKey: ["preview", folder, source, settled],
    queryFn: ({ signal }) => ask(api.POST("/training/dataset/preview", { body: { folder, source, ...settled }, signal })),
    enabled: source !== "" && flaw(settled, t) === null,
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    gcTime: 60_000,
    retry: false,
  });
  const start = useAct(async () => {
    setLoss(null);
    await ask(api.POST("/training/dataset/segment", { body: { folder, ...knobs } }));
    await client.invalidateQueries({ queryKey: keys.jobs });
  });
  const asked = useAct(async () => {
    const found = lossOf(await client.fetchQuery({ ...segmentsQuery(folder), staleTime: 0 }));
    if (found.transcripts || found.excluded) setLoss(found);
    else await start.run();
  });
  const lengths = useMemo(() => (preview.data?.segments ?? []).map((one) => one.end_s - one.start_s), [preview.data]);

  if (found.isPending || last.isLoading) return <Skeleton rows={3} height={120} />;
  if (found.error) return <ErrorNote error={found.error} again={() => found.refetch()} />;
  if (!found.data.recordings.length) {
    return (
      <Card>
        <Empty icon="file" title={t.dataset.noRecordings} action={<Link href={datasetPath(folder)}>{t.add.files}</Link>}>
          {t.segment.needs}
        </Empty>
      </Card>
    );
  }
  return (
    <div className="grid aside">
      <div className="stack">
        <Card
          title={t.segment.knobs}
          actions={
            <Button kind="quiet" icon="undo" className="small" onClick={() => setKnobs(DEFAULTS)}>
              {t.segment.defaults}
            </Button>
          }
        >
          <Knob
            label={t.segment.shortest}
            hint={t.segment.shortestHint}
            unit="s"
            min={3}
            max={15}
            step={0.5}
            value={knobs.min_duration}
            error={wrong?.field === "min_duration" ? wrong.text : undefined}
            onChange={(min_duration) => setKnobs({ ...knobs, min_duration })}
          />
          <Knob
            label={t.segment.longest}
            hint={t.segment.longestHint}
            unit="s"
            min={5}
            max={20}
            step={0.5}
            value={knobs.max_duration}
            error={wrong?.field === "max_duration" ? wrong.text : undefined}
            onChange={(max_duration) => setKnobs({ ...knobs, max_duration })}
          />
          <Knob
            label={t.segment.threshold}
            hint={t.segment.thresholdHint}
            unit="dB"
            min={-60}
            max={-20}
            step={1}
            value={knobs.vad_threshold}
            error={wrong?.field === "vad_threshold" ? wrong.text : undefined}
            onChange={(vad_threshold) => setKnobs({ ...knobs, vad_threshold })}
          />
          <ErrorNote error={asked.error ?? start.error} />
          <div className="actions">
            <Button
              kind="primary"
              needs="dataset:write"
              busy={asked.busy || start.busy}
              disabled={wrong !== null || Boolean(job && isActive(job))}
              onClick={() => asked.run()}
            >
              {t.segment.start(found.data.recordings.length)}
            </Button>
          </div>
          {job && <JobLine job={job} />}
          <Dialog open={loss !== null} title={t.segment.anew(bareName(folder))} close={() => setLoss(null)}>
            {loss && <p>{t.segment.goes(loss.transcripts, loss.excluded)}</p>}
            {loss && <p>{t.segment.stays(loss.edited)}</p>}
            <div className="actions">
              <Button kind="danger" onClick={() => start.run()}>
                {t.segment.reallyStart}
              </Button>
              <Button kind="quiet" onClick={() => setLoss(null)}>
                {t.common.cancel}
              </Button>
            </div>
          </Dialog>
        </Card>
        <Transcribing folder={folder} />
      </div>
      <Card
        title={t.segment.preview}
        actions={
          <select
            aria-label={t.dataset.recording}
            value={source}
            onChange={(event) => setParameters({ recording: event.target.value })}
          >
            {found.data.recordings.map((one) => (
              <option key={one.source} value={one.source}>
                {one.title || one.source} · {f.clock(one.duration_s)}
              </option>
            ))}
          </select>
        }
      >
        <ErrorNote error={preview.error} again={() => preview.refetch()} />
        {preview.isPending && !preview.error && <Skeleton rows={1} height={230} />}
        {preview.data && recording && (
          <>
            <Timeline
              preview={preview.data}
              threshold={knobs.vad_threshold}
              audioUrl={recording.audio_url}
              name={recording.title || source}
            />
            <dl className="figures" aria-live="polite">
              <Figure label={t.dataset.segments}>{f.number(preview.data.segments.length)}</Figure>
              <Figure label={t.segment.kept}>
                {f.clock(preview.data.total_seconds)}{" "}
                <span className="muted small">({f.percent((100 * preview.data.total_seconds) / preview.data.duration_s)})</span>
              </Figure>
              <Figure label={t.segment.average}>
                {preview.data.segments.length
                  ? `${f.number(preview.data.total_seconds / preview.data.segments.length, 1)} s`
                  : "–"}
              </Figure>
              <Figure label={t.segment.forced} hint={t.flags.forced_cut}>
                {f.number(preview.data.segments.filter((one) => one.flags.includes("forced_cut")).length)}
              </Figure>
            </dl>
            {lengths.length > 3 && (
              <figure className="stack">
                <figcaption className="small muted">{t.segment.lengths}</figcaption>
                <Suspense>
                  <Histogram values={lengths} name={t.segment.lengths} range={[null, null]} onRange={() => {}} />
                </Suspense>
              </figure>
            )}
          </>
        )}
      </Card>
    </div>
  );
}

/**
 * How to cut: as somebody set it here since the last segmentation, else as that one did, wherever it was begun: a dataset
 * must not be cut otherwise only because another device asks for it.
 */
function useKnobs(folder: string, last: Job | undefined): [typeof DEFAULTS, (knobs: typeof DEFAULTS) => void] {
  const [kept, keep] = useStored(`knobs.${folder}`, { after: "", knobs: DEFAULTS });
  const after = last?.id ?? "";
  const knobs = useMemo(() => (kept.after === after ? kept.knobs : last ? knobsOf(last) : DEFAULTS), [kept, after, last]);
  return [knobs, (knobs) => keep({ after, knobs })];
}

function knobsOf({ parameters }: Job): typeof DEFAULTS {
  const or = (value: unknown, usual: number) => (typeof value === "number" ? value : usual);
  return {
    min_duration: or(parameters.min_duration_seconds, DEFAULTS.min_duration),
    max_duration: or(parameters.max_duration_seconds, DEFAULTS.max_duration),
    vad_threshold: or(parameters.vad_threshold_db, DEFAULTS.vad_threshold),
  };
}

/** What another segmentation may cost: how many transcripts and exclusions, beside the segments that stay as edited. */
interface Loss {
  transcripts: number;
  excluded: number;
  edited: number;
}

function lossOf(segments: readonly Segment[]): Loss {
  const loose = segments.filter((one) => !one.edited);
  return {
    transcripts: loose.filter((one) => one.transcript !== null).length,
    excluded: loose.filter((one) => one.excluded).length,
    edited: segments.length - loose.length,
  };
}

type Messages = ReturnType<typeof useSpoken>["t"];

/** What is wrong with the knobs, as the gateway would say it; null when nothing is. */
function flaw(knobs: typeof DEFAULTS, t: Messages): { field: keyof typeof DEFAULTS; text: string } | null {
  const bounds = { min_duration: [3, 15], max_duration: [5, 20], vad_threshold: [-60, -20] } as const;
  for (const field of ["min_duration", "max_duration", "vad_threshold"] as const) {
    const [low, high] = bounds[field];
    if (!(knobs[field] >= low && knobs[field] <= high)) return { field, text: t.common.range(`${low}`, `${high}`) };
  }
  return knobs.min_duration > knobs.max_duration ? { field: "max_duration", text: t.segment.crossed } : null;
}

function Transcribing({ folder }: { folder: string }) {
  const { t } = useSpoken();
  const client = useQueryClient();
  const [chosen, setChosen] = useStored(`transcribe.${folder}`, { language: "pt", model: "", force: false });
  const job = useNewestJob("dataset.transcribe", folder);
  const start = useAct(async () => {
    const { language, model, force } = chosen;
    await ask(api.POST("/training/dataset/transcribe", { body: { folder, language, force, ...(model ? { model } : {}) } }));
    await client.invalidateQueries({ queryKey: keys.jobs });
  });
  return (
    <Card title={t.transcribe.title}>
      <div className="row">
        <Field label={t.transcribe.language}>
          {(ids) => (
            <select
              {...ids}
              value={chosen.language}
              onChange={(event) => setChosen({ ...chosen, language: event.target.value })}
            >
              {LANGUAGES.map((code) => (
                <option key={code} value={code}>
                  {t.languages[code]}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={t.transcribe.model}>
          {(ids) => (
            <select {...ids} value={chosen.model} onChange={(event) => setChosen({ ...chosen, model: event.target.value })}>
              {WHISPERS.map((name) => (
                <option key={name} value={name}>
                  {name || t.transcribe.usual}
                </option>
              ))}
            </select>
          )}
        </Field>
      </div>
      <label className="check">
        <input
          type="checkbox"
          checked={chosen.force}
          onChange={(event) => setChosen({ ...chosen, force: event.target.checked })}
        />
        <span>
          {t.transcribe.force}
          <span className="hint"> {t.transcribe.forceHint}</span>
        </span>
      </label>
      <ErrorNote error={start.error} />
      <div className="actions">
        <Button
          kind="primary"
          needs="dataset:write"
          busy={start.busy}
          disabled={Boolean(job && isActive(job))}
          onClick={() => start.run()}
        >
          {t.transcribe.start}
        </Button>
        <Link href={`${datasetPath(folder)}/review`} className="button quiet">
          {t.dataset.tabs.review}
        </Link>
      </div>
      {job && <JobLine job={job} />}
    </Card>
  );
}
