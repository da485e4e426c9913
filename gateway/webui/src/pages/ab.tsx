import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, Suspense, useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { useAct } from "../api/act";
import { api, ask, fetchOk } from "../api/client";
import { checkpoints as checkpointsQuery, votes as votesQuery } from "../api/queries";
import type { Comparison, Votes } from "../api/schema";
import type { WaveHandle } from "../audio/waveform";
import { type Format, useSpoken } from "../i18n";
import { checkpointName, modelOf } from "../names";
import { Badge, Button, Card, Empty, ErrorNote, Field, Page, Skeleton } from "../ui/basics";
import { CheckpointSelect } from "../ui/checkpoint-select";
import { focusOn } from "../ui/focus";
import { useParameters } from "../ui/parameters";
import { useStored } from "../ui/stored";
import "./ab/ab.css";
import { lazily } from "../ui/lazily";

const Waveform = lazily(() => import("../audio/waveform"));

type Side = "base" | "finetuned";

interface Asked {
  checkpoint: string;
  against: string;
  text: string;
  blind: boolean;
}

/** One comparison as it is before the listener; kept over a reload, and so is which side is which. */
interface Trial extends Asked {
  comparison: Comparison;
  /** What is played first. */
  order: [Side, Side];
  voted: Side | "tie" | null;
}

/** Two models say the same; a listener says which is nearer to the voice, without knowing which is which if they like. */
export default function Ab() {
  const { t } = useSpoken();
  const known = useQuery(checkpointsQuery);
  const [parameters, setParameters] = useParameters();
  const [trial, setTrial] = useStored<Trial | null>("ab.trial", null);
  const [wish, setWish] = useStored("ab.wish", { text: "", blind: true });
  const checkpoint =
    parameters.get("checkpoint") ?? known.data?.find((one) => one.current)?.path ?? known.data?.[0]?.path ?? "";
  const against = parameters.get("against") ?? "base";

  const place = useRef<HTMLDivElement>(null);
  const fresh = useRef(false);
  const compare = useAct(async (asked: Asked) => {
    place.current?.scrollIntoView({ block: "nearest" });
    const body = { checkpoint: asked.checkpoint, against: asked.against, text: asked.text };
    const comparison = await ask(api.POST("/training/inference/ab-test", { body }));
    const swapped = Math.random() < 0.5;
    const order: [Side, Side] = swapped ? ["finetuned", "base"] : ["base", "finetuned"];
    setTrial({ ...asked, comparison, order, voted: null });
    fresh.current = true;
  });
  useEffect(() => {
    if (compare.busy || !fresh.current) return;
    fresh.current = false;
    focusOn(place.current?.querySelector("h2"));
  }, [compare.busy]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    compare.run({ checkpoint, against, text: wish.text.trim(), blind: wish.blind });
  };
  if (known.data && !known.data.length) {
    return (
      <Page title={t.places.ab} lead={t.ab.lead}>
        <Card>
          <Empty
            icon="ab"
            title={t.checkpoints.none}
            action={
              <Link className="button primary" href="/train">
                {t.places.train}
              </Link>
            }
          >
            {t.ab.needs}
          </Empty>
        </Card>
      </Page>
    );
  }
  return (
    <Page title={t.places.ab} lead={t.ab.lead}>
      <div className="grid aside comparing">
        <div className="ab-form">
          <Card title={t.ab.form}>
            <form className="stack" onSubmit={submit}>
              <CheckpointSelect
                label={t.ab.tuned}
                value={checkpoint}
                base={false}
                onChange={(path) => setParameters({ checkpoint: path })}
              />
              <CheckpointSelect label={t.ab.against} value={against} onChange={(path) => setParameters({ against: path })} />
              <Field label={t.studio.text}>
                {(ids) => (
                  <textarea
                    {...ids}
                    rows={4}
                    maxLength={1000}
                    value={wish.text}
                    placeholder={t.studio.placeholder}
                    onChange={(event) => setWish({ ...wish, text: event.target.value })}
                  />
                )}
              </Field>
              <label className="check">
                <input
                  type="checkbox"
                  checked={wish.blind}
                  onChange={(event) => setWish({ ...wish, blind: event.target.checked })}
                />
                <span>
                  {t.ab.blind} <span className="hint">{t.ab.blindHint}</span>
                </span>
              </label>
              <ErrorNote error={compare.error} />
              <div className="actions">
                <Button
                  type="submit"
                  kind="primary"
                  icon="ab"
                  needs="inference"
                  busy={compare.busy}
                  disabled={!wish.text.trim() || !checkpoint || checkpoint === against}
                >
                  {t.ab.compare}
                </Button>
              </div>
              {compare.busy && (
                <p className="hint" role="status">
                  {t.ab.making}
                </p>
              )}
            </form>
          </Card>
        </div>
        <div className="ab-listen" ref={place}>
          {compare.busy && <Skeleton rows={2} height={240} />}
          {!compare.busy && trial && (
            <Listening
              key={trial.comparison.comparison_id}
              trial={trial}
              onVote={(voted) => {
                setTrial({ ...trial, voted });
                focusOn(place.current?.querySelector("h2"));
              }}
              onNext={({ checkpoint, against, text, blind }) => compare.run({ checkpoint, against, text, blind })}
            />
          )}
          {!compare.busy && !trial && (
            <Card>
              <Empty icon="ab" title={t.ab.nothing}>
                {t.ab.nothingHint}
              </Empty>
            </Card>
          )}
        </div>
        <div className="ab-tally">
          <Tally checkpoint={checkpoint} against={against} />
        </div>
      </div>
    </Page>
  );
}

interface ListeningProps {
  trial: Trial;
  onVote: (preferred: Side | "tie") => void;
  onNext: (trial: Trial) => void;
}

function Listening({ trial, onVote, onNext }: ListeningProps) {
  const { t } = useSpoken();
  const client = useQueryClient();
  const { comparison, blind, order, voted } = trial;
  const hidden = blind && voted === null;
  const first = useRef<WaveHandle>(null);
  const second = useRef<WaveHandle>(null);
  const vote = useAct(async (preferred: Side | "tie") => {
    const tally = await ask(
      api.POST("/training/inference/votes", { body: { comparison_id: comparison.comparison_id, preferred, blind } }),
    );
    client.setQueryData(votesQuery(trial.checkpoint, trial.against).queryKey, tally);
    onVote(preferred);
  });
  const names: Record<Side, string> = { finetuned: nameOf(trial.checkpoint, t), base: nameOf(trial.against, t) };
  return (
    <Card
      title={t.ab.listen}
      actions={
        hidden ? (
          <Badge tone="accent">{t.ab.blindNow}</Badge>
        ) : (
          voted && <Badge tone="good">{voted === "tie" ? t.ab.votedTie : t.ab.votedFor(names[voted])}</Badge>
        )
      }
    >
      <blockquote className="ab-text">{trial.text}</blockquote>
      {order.map((side, place) => (
        <section key={side} className="ab-side" aria-label={hidden ? t.ab.sample(place + 1) : names[side]}>
          <header className="row spread">
            <h3>
              {t.ab.sample(place + 1)}
              {!hidden && <span className="muted"> · {names[side]}</span>}
            </h3>
            {!hidden && <Scores comparison={comparison} side={side} />}
          </header>
          <Sample
            url={side === "base" ? comparison.base_audio : comparison.finetuned_audio}
            label={t.ab.sample(place + 1)}
            handle={place ? second : first}
          />
        </section>
      ))}
      <ErrorNote error={vote.error} />
      {voted === null ? (
        <fieldset className="votes">
          <legend>{t.ab.question}</legend>
          <div className="actions">
            <Button kind="primary" needs="inference" busy={vote.busy} onClick={() => vote.run(order[0])}>
              {t.ab.prefer(1)}
            </Button>
            <Button kind="primary" needs="inference" busy={vote.busy} onClick={() => vote.run(order[1])}>
              {t.ab.prefer(2)}
            </Button>
            <Button needs="inference" busy={vote.busy} onClick={() => vote.run("tie")}>
              {t.ab.tie}
            </Button>
          </div>
          <Standing trial={trial} names={names} hidden={hidden} />
        </fieldset>
      ) : (
        <div className="actions">
          <Standing trial={trial} names={names} hidden={false} />
          <Button kind="primary" icon="retry" needs="inference" onClick={() => onNext(trial)}>
            {t.ab.another}
          </Button>
        </div>
      )}
    </Card>
  );
}

/** How the votes stand, where one votes; before a blind vote only how many there are, which sways nobody. */
function Standing({ trial, names, hidden }: { trial: Trial; names: Record<Side, string>; hidden: boolean }) {
  const { t, f } = useSpoken();
  const { data: votes } = useQuery(votesQuery(trial.checkpoint, trial.against));
  if (!votes) return null;
  const total = votes.base + votes.finetuned + votes.ties;
  const percent = (share: number) => f.percent(100 * share);
  const sentence = !total
    ? t.ab.none
    : hidden
      ? t.ab.count(f.number(total))
      : votes.preference === null
        ? t.ab.onlyTies(total)
        : t.ab.stands(
            shareOf(votes, t, f),
            names.finetuned,
            t.ab.interval(percent(votes.low), percent(votes.high)),
            f.number(total),
          );
  return (
    <p className="hint standing" role="status">
      {sentence}
    </p>
  );
}

/** One side's audio, as bytes and not as an address, since an address would say which model spoke. */
function Sample({ url, label, handle }: { url: string; label: string; handle: React.Ref<WaveHandle> }) {
  const { t } = useSpoken();
  const [audio, setAudio] = useState<Blob | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const abort = new AbortController();
    // without what signs the address: that expires, and the token goes along
    fetchOk(url.split("?")[0] ?? url, { signal: abort.signal })
      .then((response) => response.blob())
      .then(setAudio)
      .catch((failed) => {
        if (!abort.signal.aborted) setError(failed);
      });
    return () => abort.abort();
  }, [url]);
  if (error) return <ErrorNote error={error} />;
  return (
    <Suspense fallback={<Skeleton rows={1} height={210} />}>
      {audio ? <Waveform source={audio} label={label} spectrogram handle={handle} /> : <Skeleton rows={1} height={210} />}
      <span className="hidden-text">{t.ab.spectrogram}</span>
    </Suspense>
  );
}

function Scores({ comparison, side }: { comparison: Comparison; side: Side }) {
  const { t, f } = useSpoken();
  const base = side === "base";
  return (
    <dl className="scores">
      <div title={t.ab.similarityHint}>
        <dt>{t.ab.similarity}</dt>
        <dd>{f.number(base ? comparison.base_similarity : comparison.similarity, 1)}</dd>
      </div>
      <div title={t.ab.mfccHint}>
        <dt>{t.ab.mfcc}</dt>
        <dd>{f.number(base ? comparison.base_mfcc_score : comparison.mfcc_score, 1)}</dd>
      </div>
    </dl>
  );
}

type Messages = ReturnType<typeof useSpoken>["t"];

function nameOf(checkpoint: string, t: Messages): string {
  return checkpoint === "base" ? t.common.base : `${modelOf(checkpoint)} · ${checkpointName(checkpoint, t.common.epoch)}`;
}

function Tally({ checkpoint, against }: { checkpoint: string; against: string }) {
  const { t } = useSpoken();
  const { data, error } = useQuery({ ...votesQuery(checkpoint, against), refetchOnWindowFocus: true });
  return (
    <Card title={t.ab.votes}>
      <ErrorNote error={error} />
      {data && <Interval votes={data} names={[nameOf(against, t), nameOf(checkpoint, t)]} />}
      {!data && !error && <p className="muted">{t.ab.noVotes}</p>}
    </Card>
  );
}

/** A share of few votes is no percentage: one of one would look as sure as a hundred of a hundred. */
const FEW_VOTES = 20;

function shareOf(votes: Votes, t: Messages, f: Format): string {
  const either = votes.base + votes.finetuned;
  if (either < FEW_VOTES) return t.ab.someOf(f.number(votes.finetuned), f.number(either));
  return f.percent(100 * (votes.preference ?? 0));
}

/** The share of the votes with its interval, against the middle where neither is preferred. */
function Interval({ votes, names }: { votes: Votes; names: [string, string] }) {
  const { t, f } = useSpoken();
  const total = votes.base + votes.finetuned + votes.ties;
  if (votes.preference === null) return <p className="muted">{total ? t.ab.onlyTies(total) : t.ab.noVotes}</p>;
  const percent = (share: number) => f.percent(100 * share);
  const verdict = votes.low > 0.5 ? t.ab.better(names[1]) : votes.high < 0.5 ? t.ab.better(names[0]) : t.ab.undecided;
  return (
    <div className="stack">
      <p>
        <strong className="ab-share">{shareOf(votes, t, f)}</strong> {t.ab.preferred(names[1])}
      </p>
      <div className="interval" role="img" aria-label={t.ab.interval(percent(votes.low), percent(votes.high))}>
        <div className="interval-span" style={{ left: `${100 * votes.low}%`, width: `${100 * (votes.high - votes.low)}%` }} />
        <div className="interval-point" style={{ left: `${100 * votes.preference}%` }} />
      </div>
      <p className="hint">{t.ab.interval(percent(votes.low), percent(votes.high))}</p>
      <p className="small">{verdict}</p>
      <dl className="facts small">
        <dt>{names[1]}</dt>
        <dd>{f.number(votes.finetuned)}</dd>
        <dt>{names[0]}</dt>
        <dd>{f.number(votes.base)}</dd>
        <dt>{t.ab.ties}</dt>
        <dd>{f.number(votes.ties)}</dd>
        <dt>{t.ab.castBlind}</dt>
        <dd>{f.number(votes.blind)}</dd>
      </dl>
    </div>
  );
}
