import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, Suspense, useEffect, useMemo, useRef, useState } from "react";
import { useAct } from "../api/act";
import { api, ask, fetchOk, token } from "../api/client";
import { usePolling } from "../api/live";
import { useMay } from "../api/may";
import { history as historyQuery, keys, voices as voicesQuery } from "../api/queries";
import type { StreamRequest, Utterance } from "../api/schema";
import { claimPlayback, PlayButton, stopPlaying } from "../audio/playback";
import { type Heard, playStream, type Stream } from "../audio/stream";
import { useSpoken } from "../i18n";
import { checkpointName, modelOf } from "../names";
import { Button, Card, Empty, ErrorNote, Field, Knob, Page, Skeleton } from "../ui/basics";
import { CheckpointSelect } from "../ui/checkpoint-select";
import { useParameters } from "../ui/parameters";
import { save } from "../ui/save";
import { useStored } from "../ui/stored";
import { colour, useTheme } from "../ui/theme";
import "./studio/studio.css";
import { lazily } from "../ui/lazily";

const Waveform = lazily(() => import("../audio/waveform"));
const LONGEST = 10_000;
const BOUNDS = { temperature: [0.1, 1.5], speed: [0.5, 2] } as const;

/** Text in, speech out, while it is still being made; and everything that was said before. */
export default function Studio() {
  const { t } = useSpoken();
  return (
    <Page title={t.places.studio} lead={t.studio.lead}>
      <div className="grid aside studio">
        <Speaking />
        <History />
      </div>
    </Page>
  );
}

function Speaking() {
  const { t, f, language } = useSpoken();
  const client = useQueryClient();
  const may = useMay();
  const [parameters, setParameters] = useParameters();
  const [wish, setWish] = useStored("speech", { text: "", temperature: 0.7, speed: 1 });
  const known = useQuery(voicesQuery);
  const checkpoint = parameters.get("checkpoint") ?? known.data?.voices.find((one) => one.current)?.current ?? "base";
  const [heard, setHeard] = useState<Heard | null>(null);
  const [firstSound, setFirstSound] = useState<number | null>(null);
  const stream = useRef<Stream | null>(null);
  const abort = useRef<AbortController | null>(null);
  const text = wish.text;
  // as the gateway counts: an emoji is one
  const length = useMemo(() => [...text].length, [text]);
  const long = length > LONGEST;
  const outside = (field: keyof typeof BOUNDS) => {
    const [low, high] = BOUNDS[field];
    return wish[field] >= low && wish[field] <= high ? undefined : t.common.range(f.number(low, 1), f.number(high, 1));
  };
  const wrong = long || Boolean(outside("temperature") ?? outside("speed"));

  const stop = () => {
    abort.current?.abort();
    stream.current?.stop();
  };
  const speak = useAct(async () => {
    stop();
    stopPlaying();
    claimPlayback(stop);
    // within the click, or the browser keeps it silent
    const context = new AudioContext({ sampleRate: 22050 });
    const mine = new AbortController();
    abort.current = mine;
    setHeard(null);
    setFirstSound(null);
    const began = performance.now();
    const body: StreamRequest = { checkpoint, text, temperature: wish.temperature, speed: wish.speed, format: "pcm" };
    try {
      const response = await fetchOk("/training/inference/stream", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: mine.signal,
      });
      if (!response.body) throw new TypeError("no body");
      const playing = playStream(response.body, context, (now) => {
        setFirstSound((before) => before ?? (performance.now() - began) / 1000);
        setHeard(now);
      });
      stream.current = playing;
      await playing.finished;
    } catch (error) {
      if (!mine.signal.aborted) throw error;
    } finally {
      client.invalidateQueries({ queryKey: keys.history });
      client.invalidateQueries({ queryKey: keys.voices });
    }
  });
  useEffect(
    () => () => {
      abort.current?.abort();
      stream.current?.stop();
    },
    [],
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    speak.run();
  };
  return (
    <Card className="speaking">
      <form className="stack" onSubmit={submit}>
        <Field
          label={t.studio.text}
          hint={t.studio.textHint(f.number(length), f.number(LONGEST))}
          error={long ? t.studio.tooLong(f.number(length), f.number(LONGEST)) : undefined}
        >
          {(ids) => (
            <textarea
              {...ids}
              rows={7}
              value={text}
              placeholder={t.studio.placeholder}
              onChange={(event) => setWish({ ...wish, text: event.target.value })}
              onKeyDown={(event) => {
                if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && text.trim() && !wrong && may("inference"))
                  speak.run();
              }}
            />
          )}
        </Field>
        <CheckpointSelect label={t.studio.voice} value={checkpoint} onChange={(path) => setParameters({ checkpoint: path })} />
        <Knob
          label={t.studio.temperature}
          hint={t.studio.temperatureHint}
          min={BOUNDS.temperature[0]}
          max={BOUNDS.temperature[1]}
          step={0.05}
          value={wish.temperature}
          error={outside("temperature")}
          onChange={(temperature) => setWish({ ...wish, temperature })}
        />
        <Knob
          label={t.studio.speed}
          hint={t.studio.speedHint}
          unit="×"
          min={BOUNDS.speed[0]}
          max={BOUNDS.speed[1]}
          step={0.05}
          value={wish.speed}
          error={outside("speed")}
          onChange={(speed) => setWish({ ...wish, speed })}
        />
        <ErrorNote error={speak.error} />
        <div className="actions">
          <Button
            type="submit"
            kind="primary"
            icon="studio"
            needs="inference"
            busy={speak.busy}
            disabled={!text.trim() || wrong}
            title="Ctrl+Enter"
          >
            {t.studio.speak}
          </Button>
          {(speak.busy || heard) && (
            <Button icon="stop" onClick={stop}>
              {t.audio.stop}
            </Button>
          )}
        </div>
        {heard && <Growing heard={heard} />}
        {firstSound !== null && (
          <p className="hint" role="status" data-language={language}>
            {t.studio.firstSound(f.number(firstSound, 2))} · {f.clock(heard?.seconds ?? 0, 1)}
            {speak.busy ? ` · ${t.studio.stillMaking}` : ""}
          </p>
        )}
      </form>
    </Card>
  );
}

/** The waveform of what has been made so far. */
function Growing({ heard }: { heard: Heard }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { dark } = useTheme();
  // biome-ignore lint/correctness/useExhaustiveDependencies: in other colours when the theme changes
  useEffect(() => {
    const pen = canvas.current?.getContext("2d");
    if (!canvas.current || !pen) return;
    const { width, height } = canvas.current;
    const { samples } = heard;
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = colour("--accent");
    const size = samples.length / width;
    for (let column = 0; column < width; column += 3) {
      let peak = 0;
      const end = Math.floor((column + 3) * size);
      for (let at = Math.floor(column * size); at < end; at += 4) peak = Math.max(peak, Math.abs(samples[at] ?? 0));
      const tall = Math.max(2, peak * height);
      pen.fillRect(column, (height - tall) / 2, 2, tall);
    }
  }, [heard, dark]);
  return <canvas ref={canvas} className="growing" width={640} height={64} aria-hidden="true" />;
}

const PAGE = 25;

function History() {
  const { t, f } = useSpoken();
  const client = useQueryClient();
  const [limit, setLimit] = useState(PAGE);
  const { data, error, isPending, refetch } = useQuery({ ...historyQuery("", limit), refetchInterval: usePolling(10_000) });
  const [, setParameters] = useParameters();
  const [wish, setWish] = useStored("speech", { text: "", temperature: 0.7, speed: 1 });
  const [open, setOpen] = useState("");
  const again = (one: Utterance) => {
    setWish({ ...wish, text: one.text, temperature: one.temperature, speed: one.speed });
    setParameters({ checkpoint: one.checkpoint });
  };
  const remove = useAct(async (id: string) => {
    await ask(api.DELETE("/training/inference/history/{utterance_id}", { params: { path: { utterance_id: id } } }));
    await client.invalidateQueries({ queryKey: keys.history });
  });
  return (
    <Card title={t.studio.history}>
      <ErrorNote error={error ?? remove.error} again={() => refetch()} />
      {isPending && <Skeleton rows={4} height={64} />}
      {data && !data.utterances.length && (
        <Empty icon="studio" title={t.studio.none}>
          {t.studio.noneHint}
        </Empty>
      )}
      <ul className="history">
        {data?.utterances.map((one) => {
          const name =
            one.checkpoint === "base"
              ? t.common.base
              : `${modelOf(one.checkpoint)} · ${checkpointName(one.checkpoint, t.common.epoch)}`;
          return (
            <li key={one.id}>
              <div className="row tight">
                <PlayButton url={one.audio_url} label={one.text} />
                <button
                  type="button"
                  className="history-text"
                  aria-expanded={open === one.id}
                  onClick={() => setOpen(open === one.id ? "" : one.id)}
                >
                  <span className={open === one.id ? "" : "truncate"}>{one.text}</span>
                  <span className="small muted truncate">
                    {name} · {f.clock(one.duration_s, 1)} · {f.ago(one.created_at)}
                  </span>
                </button>
                <Button
                  kind="quiet"
                  compact
                  className="small"
                  icon="download"
                  aria-label={`${t.studio.download}: ${one.text.slice(0, 60)}`}
                  title={t.studio.download}
                  onClick={() => download(one)}
                >
                  {t.studio.download}
                </Button>
              </div>
              {open === one.id && (
                <div className="stack history-more">
                  <Suspense fallback={<div className="wave" />}>
                    <Waveform source={one.audio_url} label={one.text} />
                  </Suspense>
                  <div className="row spread small muted">
                    <span>
                      {t.studio.temperature} {f.number(one.temperature, 2)} · {t.studio.speed} {f.number(one.speed, 2)} ·{" "}
                      {t.studio.factor(f.number(one.real_time_factor, 2))}
                    </span>
                    <span className="row">
                      <Button className="small" icon="retry" onClick={() => again(one)}>
                        {t.studio.reuse}
                      </Button>
                      <Button
                        kind="danger"
                        className="small"
                        icon="trash"
                        needs="inference"
                        busy={remove.busy}
                        onClick={() => remove.run(one.id)}
                      >
                        {t.common.delete}
                      </Button>
                    </span>
                  </div>
                </div>
              )}
            </li>
          );
        })}
      </ul>
      {data && data.utterances.length >= limit && (
        <Button kind="quiet" onClick={() => setLimit(limit + 2 * PAGE)}>
          {t.studio.more}
        </Button>
      )}
    </Card>
  );
}

function download(one: Utterance): void {
  const fetched = token.get() && !one.audio_url.includes("signature=") ? () => fetchOk(one.audio_url) : null;
  save(one.audio_url, `${one.id}.wav`, fetched);
}
