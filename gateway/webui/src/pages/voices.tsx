import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useLocation } from "wouter";
import { usePolling } from "../api/live";
import { LOOK, useMay } from "../api/may";
import { datasets, jobs, voices } from "../api/queries";
import type { Dataset, Job, Voice } from "../api/schema";
import { PlayButton } from "../audio/playback";
import { useSpoken } from "../i18n";
import { bareName, checkpointName, datasetPath, folderOf, isAside, NAME_PATTERN } from "../names";
import { Badge, Button, Dialog, Empty, ErrorNote, Field, Page, Progress, Skeleton, StateBadge } from "../ui/basics";
import { Icon } from "../ui/icons";
import "./voices.css";

/** Home: every dataset and every model that was trained on one, and where each stands. */
export function Voices() {
  const { t } = useSpoken();
  const refetchInterval = usePolling();
  const may = useMay();
  const sets = useQuery({ ...datasets, refetchInterval, enabled: may(...LOOK.datasets) });
  const models = useQuery({ ...voices, refetchInterval, enabled: may(...LOOK.models) });
  const work = useQuery({ ...jobs, refetchInterval, enabled: may(...LOOK.jobs) });
  const [asking, setAsking] = useState(false);

  const begin = (
    <Button kind="primary" icon="plus" needs="dataset:write" onClick={() => setAsking(true)}>
      {t.voices.begin}
    </Button>
  );
  const pending = sets.isLoading || models.isLoading;
  const [pairs, earlier] = pending ? [[], []] : paired(sets.data?.datasets ?? [], models.data?.voices ?? []);
  const cards = (some: Pair[]) => (
    <ul className={some.length === 1 ? "grid cards alone" : "grid cards"}>
      {some.map(({ dataset, voice }) => (
        <li key={`${dataset?.folder}|${voice?.name}`}>
          <VoiceCard dataset={dataset} voice={voice} running={work.data?.jobs.find((one) => isAbout(one, dataset, voice))} />
        </li>
      ))}
    </ul>
  );
  return (
    <Page title={t.places.voices} lead={t.voices.lead} actions={pairs.length > 0 && begin}>
      <ErrorNote error={sets.error} again={() => sets.refetch()} />
      <ErrorNote error={models.error} again={() => models.refetch()} />
      {pending && <Skeleton rows={3} height={180} />}
      {!pending && !pairs.length && !sets.error && (
        <div className="card">
          <Empty icon="voices" title={t.voices.none} action={begin}>
            {t.voices.noneHint}
          </Empty>
          <ol className="guide" aria-label={t.voices.workflow}>
            {STEPS.map((one, index) => (
              <li key={one}>
                <span className="guide-number" aria-hidden="true">
                  {index + 1}
                </span>
                <h3>{t.voices.steps[one]}</h3>
                <p>{t.voices.now[one]}</p>
              </li>
            ))}
          </ol>
        </div>
      )}
      {cards(pairs)}
      {earlier.length > 0 && (
        <details className="earlier">
          <summary>{t.voices.earlierRuns(earlier.length)}</summary>
          {cards(earlier)}
        </details>
      )}
      <NewDataset open={asking} close={() => setAsking(false)} />
    </Page>
  );
}

interface Pair {
  dataset: Dataset | undefined;
  voice: Voice | undefined;
}

/**
 * Each model beside the dataset it was trained on; datasets without one, and models whose dataset is gone, by themselves.
 * Second come the models that were put aside when others of their names were begun anew.
 */
function paired(sets: Dataset[], models: Voice[]): [Pair[], Pair[]] {
  const beside = (voice: Voice) => ({ voice, dataset: sets.find((one) => one.folder === voice.dataset_folder) });
  const present = models.filter((one) => !isAside(one.name));
  const used = new Set(present.map((one) => one.dataset_folder));
  const alone = sets.filter((one) => !used.has(one.folder)).map((dataset) => ({ dataset, voice: undefined }));
  return [[...present.map(beside), ...alone], models.filter((one) => isAside(one.name)).map(beside)];
}

function isAbout(job: Job, dataset: Dataset | undefined, voice: Voice | undefined): boolean {
  const active = job.state === "running" || job.state === "queued";
  return active && (job.subject === voice?.name || job.subject === dataset?.folder);
}

function VoiceCard({ dataset, voice, running }: Pair & { running: Job | undefined }) {
  const { t, f } = useSpoken();
  const name = voice?.name ?? bareName(dataset?.folder ?? "");
  const steps = stepsOf(dataset, voice);
  const next = steps.find((one) => !one.done);
  const best = voice?.best_checkpoint ?? voice?.current;
  return (
    <article className="card voice-card">
      <header className="row tight spread">
        <h2 className="truncate" title={name}>
          {name}
        </h2>
        {voice && isAside(voice.name) && <Badge>{t.voices.earlier}</Badge>}
        {voice && voice.state !== "idle" && <StateBadge state={voice.state} />}
      </header>
      <ol className="steps" aria-label={t.voices.workflow}>
        {steps.map((one) => (
          <li key={one.name} className={one.done ? "done" : one === next ? "next" : ""}>
            <span className="dot" aria-hidden="true">
              {one.done && <Icon name="check" />}
            </span>
            <span>
              {t.voices.steps[one.name]}
              <span className="hidden-text">{one.done ? `: ${t.voices.done}` : ""}</span>
            </span>
          </li>
        ))}
      </ol>
      {running && (
        <div className="stack small">
          <span className="muted truncate">
            {t.jobs.kinds(running.kind)} · {f.percent(running.progress)}
          </span>
          <Progress value={running.progress} label={t.jobs.kinds(running.kind)} />
        </div>
      )}
      <dl className="facts">
        <dt>{t.voices.dataset}</dt>
        <dd>
          {dataset ? (
            <Link href={datasetPath(dataset.folder)}>{bareName(dataset.folder)}</Link>
          ) : (
            <span className="muted">{t.common.none}</span>
          )}
        </dd>
        <dt>{t.voices.hours}</dt>
        <dd>{dataset ? t.voices.hoursOf(f.number(dataset.total_hours, 2), f.number(dataset.files)) : "–"}</dd>
        <dt>{t.voices.loss}</dt>
        <dd>{lossOf(voice, f.loss, t.voices.heldOut) ?? "–"}</dd>
        <dt>{t.voices.best}</dt>
        <dd>{best ? checkpointName(best, t.common.epoch) : "–"}</dd>
      </dl>
      {voice?.sample && (
        <div className="row tight sample">
          <PlayButton url={voice.sample.audio_url} label={t.voices.sampleOf(name)} />
          <q className="truncate small muted">{voice.sample.text}</q>
        </div>
      )}
      <footer className="now">
        <p className="small">{running ? t.voices.now.running : t.voices.now[next?.name ?? "speak"]}</p>
        <Link href={running ? `/jobs/${running.id}` : placeOf(next?.name, dataset, voice)} className="button small">
          {t.voices.go[running ? "running" : (next?.name ?? "speak")]}
          <Icon name="next" />
        </Link>
      </footer>
    </article>
  );
}

function lossOf(voice: Voice | undefined, format: (value: number) => string, heldOut: (loss: string) => string): string | null {
  if (voice?.last_eval_loss != null) return heldOut(format(voice.last_eval_loss));
  return voice?.last_loss != null ? format(voice.last_loss) : null;
}

const STEPS = ["recordings", "segments", "transcripts", "training"] as const;
type Step = (typeof STEPS)[number];

function stepsOf(dataset: Dataset | undefined, voice: Voice | undefined): { name: Step; done: boolean }[] {
  const files = dataset?.files ?? 0;
  return [
    { name: "recordings", done: (dataset?.sources ?? 0) > 0 || files > 0 || Boolean(voice) },
    { name: "segments", done: files > 0 || Boolean(voice) },
    { name: "transcripts", done: (files > 0 && (dataset?.transcribed_percent ?? 0) >= 99.95) || (voice?.checkpoints ?? 0) > 0 },
    { name: "training", done: (voice?.checkpoints ?? 0) > 0 },
  ];
}

function placeOf(step: Step | undefined, dataset: Dataset | undefined, voice: Voice | undefined): string {
  if (!step) return `/studio?checkpoint=${encodeURIComponent(voice?.current ?? "base")}`;
  if (step === "training") return `/train?dataset=${encodeURIComponent(dataset?.folder ?? "")}`;
  const part = { recordings: "", segments: "/segment", transcripts: "/segment" }[step];
  return `${datasetPath(dataset?.folder ?? "")}${part}`;
}

export function NewDataset({ open, close }: { open: boolean; close: () => void }) {
  const { t } = useSpoken();
  const [, navigate] = useLocation();
  const [name, setName] = useState("");
  const wrong = name !== "" && !NAME_PATTERN.test(name);
  const known = useQuery({ ...datasets, enabled: useMay()(...LOOK.datasets) && open });
  const exists = known.data?.datasets.some((one) => one.folder === folderOf(name)) ?? false;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!wrong && name) navigate(`/datasets/${name}`);
  };
  return (
    <Dialog open={open} title={t.voices.begin} close={close}>
      <form className="stack" onSubmit={submit}>
        <Field
          label={t.voices.name}
          hint={exists ? t.voices.nameKnown(name) : t.voices.nameHint}
          error={wrong ? t.voices.nameWrong : undefined}
        >
          {(ids) => (
            <input
              {...ids}
              value={name}
              required
              spellCheck={false}
              autoComplete="off"
              placeholder="my_voice"
              onChange={(event) => setName(event.target.value)}
            />
          )}
        </Field>
        <div className="actions">
          <Button type="submit" kind="primary" disabled={!name || wrong}>
            {exists ? t.voices.open : t.voices.create}
          </Button>
          <Button kind="quiet" onClick={close}>
            {t.common.cancel}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
