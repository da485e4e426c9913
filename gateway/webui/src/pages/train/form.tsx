import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useMemo } from "react";
import { Link } from "wouter";
import { useAct } from "../../api/act";
import { api, ask, Problem } from "../../api/client";
import { LOOK, useMay } from "../../api/may";
import {
  checkpoints as checkpointsQuery,
  datasets as datasetsQuery,
  estimate as estimateQuery,
  keys,
  voices as voicesQuery,
} from "../../api/queries";
import type { Run, TrainingRequest } from "../../api/schema";
import { useSpoken } from "../../i18n";
import { bareName, NAME_PATTERN } from "../../names";
import { Button, Card, ErrorNote, Field, Figure, Knob, Note } from "../../ui/basics";
import { useParameters } from "../../ui/parameters";
import { Said } from "../../ui/said";
import { useSettled, useStored } from "../../ui/stored";

const LANGUAGES = ["pt", "en", "es", "fr", "de", "it"] as const;
const USUAL = {
  epochs: 100,
  batch_size: 4,
  learning_rate: 0.0001,
  use_deepspeed: false,
  language: "pt",
};
/** What is done with a model that is there already, once somebody has chosen; `about` says for which model and dataset. */
const UNDECIDED = { about: "", way: null as "resume" | "overwrite" | null };
const BOUNDS = { epochs: [10, 1000], batch_size: [1, 16], learning_rate: [0.00001, 0.01] } as const;

interface FormProps {
  runs: Run[];
  onStarted: (jobId: string) => void;
}

/** What a training is asked for, with what it would take; kept while one looks elsewhere. */
export function TrainingForm({ runs, onStarted }: FormProps) {
  const { t, f } = useSpoken();
  const client = useQueryClient();
  const [parameters, setParameters] = useParameters();
  const [wish, setWish] = useStored("training", USUAL);
  const [names, setNames] = useStored<Record<string, string>>("training.names", {}); // by dataset
  const [chosen, setChosen] = useStored("training.onward", UNDECIDED);
  const may = useMay();
  const sets = useQuery({ ...datasetsQuery, enabled: may(...LOOK.datasets) });
  const known = useQuery(checkpointsQuery);
  const voices = useQuery(voicesQuery);
  const folder =
    parameters.get("dataset") ??
    sets.data?.datasets.find((one) => one.transcribed_percent > 0)?.folder ??
    sets.data?.datasets[0]?.folder ??
    "";
  const name = names[folder] ?? `${bareName(folder).replaceAll("/", "-")}_model`;
  const wrongName = !NAME_PATTERN.test(name);
  const exists = known.data?.some((one) => one.model_name === name) ?? false;
  const taught = voices.data?.voices.find((one) => one.name === name)?.dataset_folder ?? folder;
  const about = `${name} ${folder}`;
  // going on is what is usual, but not with the recordings of somebody else
  const usual = taught === folder && !voices.isPending ? "resume" : null;
  const way = exists ? (chosen.about === about ? chosen.way : usual) : null;
  const decide = (one: "resume" | "overwrite") => setChosen({ about, way: one });
  const body: TrainingRequest = useMemo(
    () => ({
      model_name: name,
      dataset_folder: folder,
      epochs: wish.epochs,
      batch_size: wish.batch_size,
      learning_rate: wish.learning_rate,
      use_deepspeed: wish.use_deepspeed,
      language: wish.language,
      resume: way === "resume",
      overwrite: way === "overwrite",
    }),
    [name, folder, wish, way],
  );
  // a model that goes on counts the epochs that it has
  const had = Math.max(
    0,
    ...(known.data ?? []).filter((one) => body.resume && one.model_name === name).map((one) => one.epoch),
  );
  const wrong = (field: keyof typeof BOUNDS) => {
    const [low, high] = BOUNDS[field];
    const inside = wish[field] >= low && wish[field] <= high;
    if (field === "learning_rate") return inside ? undefined : t.common.range(f.number(low, 5), f.number(high, 2));
    if (!inside || !Number.isInteger(wish[field])) return t.common.wholeRange(f.number(low), f.number(high));
    return field === "epochs" && wish.epochs <= had ? t.train.enough(had) : undefined;
  };
  const outside = (field: keyof typeof BOUNDS) => wrong(field) !== undefined;
  const decided = !exists || way !== null;
  const valid =
    folder !== "" && !wrongName && decided && !outside("epochs") && !outside("batch_size") && !outside("learning_rate");
  const running = runs.find((one) => one.state === "running");
  const start = useAct(async () => {
    const started = await ask(api.POST("/training/start", { body }));
    await Promise.all([keys.jobs, keys.runs, keys.voices].map((queryKey) => client.invalidateQueries({ queryKey })));
    onStarted(started.job_id);
  });
  const stop = useAct(async () => {
    await ask(api.POST("/training/stop"));
    await Promise.all(
      [keys.jobs, keys.runs, keys.voices, keys.checkpoints].map((queryKey) => client.invalidateQueries({ queryKey })),
    );
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    start.run();
  };
  return (
    <Card title={t.train.form}>
      <form className="stack" onSubmit={submit}>
        <Field
          label={t.voices.dataset}
          hint={sets.data && !sets.data.datasets.length ? <Link href="/datasets">{t.voices.begin}</Link> : t.train.datasetHint}
        >
          {(ids) => (
            <select {...ids} value={folder} onChange={(event) => setParameters({ dataset: event.target.value })}>
              {folder && !sets.data?.datasets.some((one) => one.folder === folder) && (
                <option value={folder}>{bareName(folder)}</option>
              )}
              {sets.data?.datasets.map((one) => (
                <option key={one.folder} value={one.folder}>
                  {bareName(one.folder)} · {t.voices.hoursOf(f.number(one.total_hours, 2), f.number(one.files))}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={t.train.model} hint={t.train.modelHint} error={wrongName ? t.voices.nameWrong : undefined}>
          {(ids) => (
            <input
              {...ids}
              value={name}
              spellCheck={false}
              autoComplete="off"
              onChange={(event) => setNames({ ...names, [folder]: event.target.value })}
            />
          )}
        </Field>
        {exists && (
          <fieldset>
            <legend>{t.train.exists(name)}</legend>
            {taught !== folder && <Note kind="warn">{t.train.elsewhere(name, bareName(taught), bareName(folder))}</Note>}
            <label className="check">
              <input type="radio" name="onward" checked={way === "resume"} onChange={() => decide("resume")} />
              <span>
                {t.train.resume} <span className="hint">{t.train.resumeHint}</span>
              </span>
            </label>
            <label className="check">
              <input type="radio" name="onward" checked={way === "overwrite"} onChange={() => decide("overwrite")} />
              <span>
                {t.train.overwrite} <span className="hint">{t.train.overwriteHint}</span>
              </span>
            </label>
          </fieldset>
        )}
        <Knob
          label={t.train.epochs}
          hint={t.train.epochsHint}
          min={10}
          max={1000}
          step={10}
          value={wish.epochs}
          error={wrong("epochs")}
          onChange={(epochs) => setWish({ ...wish, epochs })}
        />
        <Knob
          label={t.train.batch}
          hint={t.train.batchHint}
          min={1}
          max={16}
          step={1}
          value={wish.batch_size}
          error={wrong("batch_size")}
          onChange={(batch_size) => setWish({ ...wish, batch_size })}
        />
        <Knob
          label={t.train.rate}
          hint={t.train.rateHint}
          min={0.00001}
          max={0.01}
          step={0.00001}
          logarithmic
          value={wish.learning_rate}
          error={wrong("learning_rate")}
          onChange={(learning_rate) => setWish({ ...wish, learning_rate })}
        />
        <Field label={t.transcribe.language}>
          {(ids) => (
            <select {...ids} value={wish.language} onChange={(event) => setWish({ ...wish, language: event.target.value })}>
              {LANGUAGES.map((code) => (
                <option key={code} value={code}>
                  {t.languages[code]}
                </option>
              ))}
            </select>
          )}
        </Field>
        <label className="check">
          <input
            type="checkbox"
            checked={wish.use_deepspeed}
            onChange={(event) => setWish({ ...wish, use_deepspeed: event.target.checked })}
          />
          <span>
            DeepSpeed <span className="hint">{t.train.deepspeedHint}</span>
          </span>
        </label>
        {valid && <EstimateOf body={body} />}
        <ErrorNote error={start.error ?? stop.error} />
        <div className="actions">
          <Button type="submit" kind="primary" needs="training" busy={start.busy} disabled={!valid || Boolean(running)}>
            {body.resume ? t.train.resumeStart : t.train.start}
          </Button>
          {running && (
            <Button icon="stop" needs="training" busy={stop.busy} onClick={() => stop.run()}>
              {stop.busy ? t.jobs.stopping : t.train.stop}
            </Button>
          )}
        </div>
        {running && <p className="hint">{t.train.oneAtATime(running.model_name)}</p>}
      </form>
    </Card>
  );
}

function EstimateOf({ body }: { body: TrainingRequest }) {
  const { t, f } = useSpoken();
  const settled = useSettled(body, 250);
  const { data, error } = useQuery({ ...estimateQuery(settled), placeholderData: keepPreviousData });
  // the gateway's sentence says what stands in the way of this training, before it is asked for
  if (error instanceof Problem) {
    return (
      <Note kind="warn">
        <Said error={error} />
      </Note>
    );
  }
  if (error) return <ErrorNote error={error} />;
  if (!data) return null;
  return (
    <div className="estimate" aria-live="polite">
      <h3>{t.train.estimate}</h3>
      <dl className="figures">
        <Figure label={t.train.time}>{data.seconds === null ? "–" : f.span(data.seconds)}</Figure>
        <Figure label={t.train.disk}>{data.disk_bytes === null ? "–" : f.bytes(data.disk_bytes)}</Figure>
        <Figure label={t.train.steps}>{f.number(data.steps)}</Figure>
        <Figure label={t.train.clips}>{f.number(data.clips)}</Figure>
      </dl>
      <p className="hint">{t.basis(data.basis)}</p>
    </div>
  );
}
