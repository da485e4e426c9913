import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Suspense, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { Link } from "wouter";
import { usePolling } from "../../api/live";
import { useMay } from "../../api/may";
import { keys, segments as segmentsQuery } from "../../api/queries";
import type { Segment } from "../../api/schema";
import type { WaveHandle } from "../../audio/waveform";
import { useSpoken } from "../../i18n";
import { datasetPath } from "../../names";
import { Button, Card, Empty, ErrorNote, Note, Skeleton } from "../../ui/basics";
import { useParameters } from "../../ui/parameters";
import { useSettled, useStored } from "../../ui/stored";
import { useEdits } from "./edits";
import { FIGURES, type Figure, figureOf, filtered, readFilter, STATUSES, writeRange } from "./filter";
import { Inspector } from "./inspector";
import { type Editing, SegmentTable } from "./segment-table";
import "./review.css";
import { lazily } from "../../ui/lazily";

const Histogram = lazily(() => import("../../plots/histogram"));

/** The review: every segment of a dataset, to be heard, read, corrected and left out, by keyboard alone if one likes. */
export default function Review({ folder }: { folder: string }) {
  const { t } = useSpoken();
  const client = useQueryClient();
  const poll = usePolling(15_000);
  const { data, error, isPending, refetch } = useQuery({ ...segmentsQuery(folder), refetchInterval: poll, staleTime: 30_000 });

  // Somebody else may have changed something while this tab was away.
  useEffect(() => {
    const seen = () => {
      if (!document.hidden) client.invalidateQueries({ queryKey: [...keys.segments, folder] });
    };
    document.addEventListener("visibilitychange", seen);
    return () => document.removeEventListener("visibilitychange", seen);
  }, [client, folder]);

  if (isPending) return <Skeleton rows={8} height={56} />;
  if (!data) return <ErrorNote error={error} again={() => refetch()} />;
  if (!data.length) {
    return (
      <Card>
        <Empty
          icon="dataset"
          title={t.review.none}
          action={
            <Link className="button primary" href={`${datasetPath(folder)}/segment`}>
              {t.dataset.tabs.segmenting}
            </Link>
          }
        >
          {t.review.noneHint}
        </Empty>
      </Card>
    );
  }
  return <Desk folder={folder} segments={data} />;
}

function Desk({ folder, segments }: { folder: string; segments: Segment[] }) {
  const { t, f } = useSpoken();
  const may = useMay();
  const edits = useEdits(folder);
  const [parameters, setParameters] = useParameters();
  const query = useDeferredValue(parameters.toString());
  const filter = useMemo(() => readFilter(new URLSearchParams(query)), [query]);
  const shown = useMemo(() => filtered(segments, filter), [segments, filter]);
  const [editing, setEditing] = useState<Editing | null>(null);
  const [playing, setPlaying] = useState(false);
  const [autoplay, setAutoplay] = useStored("autoplay", true);
  const [details, setDetails] = useStored("details", true);
  const wave = useRef<WaveHandle>(null);
  const [chosen, setChosen] = useState(() => parameters.get("segment") ?? "");
  const [wanted, setWanted] = useState({ id: "", count: 0 });
  const settled = useSettled(chosen, 400);
  // one that an edit takes out of the list leaves its place to the one after it
  const asked = JSON.stringify(filter);
  const place = useRef({ asked, index: 0 });
  const found = shown.findIndex((one) => one.id === chosen);
  if (found >= 0 || place.current.asked !== asked) place.current = { asked, index: Math.max(0, found) };
  const index = Math.max(0, Math.min(place.current.index, shown.length - 1));
  const active = shown[index];
  const mayEdit = may("dataset:write");
  const flags = useMemo(() => [...new Set(segments.flatMap((one) => one.flags))].sort(), [segments]);
  const missing = segments.filter((one) => one.transcript === null).length;

  const select = (to: number, play: boolean) => {
    const next = shown[Math.max(0, Math.min(shown.length - 1, to))];
    if (!next) return;
    setChosen(next.id);
    if (play) setWanted((before) => ({ id: next.id, count: before.count + 1 }));
  };
  const undo = () => setChosen(edits.undo() ?? chosen);
  // the address follows; browsers allow only so many changes of it
  useEffect(() => {
    if (settled) setParameters({ segment: settled });
  }, [settled, setParameters]);
  const ranged = FIGURES.filter((one) => filter.ranges[one].some((bound) => bound !== null));
  const narrowed = filter.text || filter.status || filter.flag || ranged.length;

  return (
    <div className="desk">
      {missing > 0 && (
        <Note kind="warn">
          <span>{t.review.missing(missing)}</span>
          <Link href={`${datasetPath(folder)}/segment`}>{t.transcribe.title}</Link>
        </Note>
      )}
      <details className="card distributions" open={innerWidth > 860}>
        <summary>{t.review.distributions}</summary>
        <div className="histograms">
          {FIGURES.map((figure) => (
            <Distribution
              key={figure}
              figure={figure}
              segments={segments}
              range={filter.ranges[figure]}
              onRange={(range) => setParameters({ [figure]: writeRange(range) })}
            />
          ))}
        </div>
      </details>
      <div className="toolbar" role="search" aria-label={t.review.filters}>
        <input
          type="search"
          aria-label={t.review.search}
          placeholder={t.review.search}
          value={parameters.get("text") ?? ""}
          onChange={(event) => setParameters({ text: event.target.value })}
        />
        <select
          aria-label={t.review.status}
          value={filter.status}
          onChange={(event) => setParameters({ status: event.target.value })}
        >
          {STATUSES.map((one) => (
            <option key={one} value={one}>
              {t.review.statuses[one || "all"]}
            </option>
          ))}
        </select>
        <select
          aria-label={t.review.flag}
          value={filter.flag}
          onChange={(event) => setParameters({ flag: event.target.value })}
        >
          <option value="">{t.review.anyFlag}</option>
          {flags.map((one) => (
            <option key={one} value={one}>
              {t.flagNames[one as keyof typeof t.flagNames] ?? one}
            </option>
          ))}
        </select>
        {Boolean(narrowed) && (
          <Button
            kind="quiet"
            icon="close"
            onClick={() =>
              setParameters({
                text: null,
                status: null,
                flag: null,
                duration: null,
                confidence: null,
                rate: null,
                loudness: null,
              })
            }
          >
            {t.review.clear}
          </Button>
        )}
        <span className="muted small" role="status">
          {t.review.shown(f.number(shown.length), f.number(segments.length))}
        </span>
        <span className="toolbar-end">
          <label className="check small">
            <input type="checkbox" checked={autoplay} onChange={(event) => setAutoplay(event.target.checked)} />
            <span>{t.review.autoplay}</span>
          </label>
          <Button
            icon="panel"
            aria-pressed={details}
            title={details ? t.review.hideDetails : t.review.showDetails}
            onClick={() => setDetails(!details)}
          >
            {t.review.details}
          </Button>
          <Button icon="undo" disabled={!edits.canUndo} onClick={undo}>
            {t.common.undo}
          </Button>
          {Boolean(narrowed) && shown.length > 0 && (
            <Button
              needs="dataset:write"
              onClick={() =>
                edits.excludeAll(
                  shown,
                  shown.some((one) => !one.excluded),
                )
              }
            >
              {shown.some((one) => !one.excluded) ? t.review.excludeShown(shown.length) : t.review.includeShown(shown.length)}
            </Button>
          )}
        </span>
      </div>
      <div className={details ? "desk-body" : "desk-body folded"}>
        {shown.length ? (
          <SegmentTable
            segments={shown}
            total={segments.length}
            active={index}
            playing={playing}
            editing={editing}
            mayEdit={mayEdit}
            conflicts={edits.conflicts}
            sort={filter.sort}
            down={filter.down}
            onSort={(sort) =>
              setParameters({ sort: sort === filter.sort && !filter.down ? `-${sort}` : sort === "number" ? null : sort })
            }
            onSelect={(to) => select(to, false)}
            onNext={() => select(index + 1, autoplay)}
            onPlay={(at) => {
              if (at === index && playing) wave.current?.toggle();
              else select(at, true);
            }}
            onEditing={setEditing}
            onDetails={() => setDetails(!details)}
            onEdit={edits.edit}
            onUndo={undo}
          />
        ) : (
          <Card>
            <Empty icon="dataset" title={t.review.nothing}>
              {t.review.nothingHint}
            </Empty>
          </Card>
        )}
        {active && (
          <Inspector
            key={active.id}
            segment={active}
            conflict={edits.conflicts.get(active.id)}
            folded={!details}
            mayEdit={mayEdit}
            wave={wave}
            play={wanted.id === active.id ? wanted.count : 0}
            onPlaying={setPlaying}
            onEdit={edits.edit}
            onSettle={edits.settle}
          />
        )}
      </div>
      <p className="hint keys">{t.review.keys}</p>
    </div>
  );
}

interface DistributionProps {
  figure: Figure;
  segments: Segment[];
  range: readonly [number | null, number | null];
  onRange: (range: readonly [number | null, number | null]) => void;
}

function Distribution({ figure, segments, range, onRange }: DistributionProps) {
  const { t } = useSpoken();
  const values = useMemo(() => segments.map(figureOf[figure]).filter((one) => one !== null), [segments, figure]);
  const [low, high] = range;
  const bound = (at: 0 | 1) => (
    <input
      type="number"
      step="any"
      aria-label={`${t.review.figures[figure]}, ${at ? t.review.to : t.review.from}`}
      placeholder={at ? t.review.to : t.review.from}
      value={range[at] ?? ""}
      onChange={(event) => {
        const value = Number.isNaN(event.target.valueAsNumber) ? null : event.target.valueAsNumber;
        onRange(at ? [low, value] : [value, high]);
      }}
    />
  );
  return (
    <figure className="distribution">
      <figcaption>
        <span>{t.review.figures[figure]}</span>
        <span className="bounds">
          {bound(0)}–{bound(1)}
        </span>
      </figcaption>
      {values.length ? (
        <Suspense fallback={<div className="histogram" />}>
          <Histogram
            values={values}
            name={t.review.distributionOf(t.review.figures[figure])}
            range={range}
            onRange={(a, b) => onRange([a, b])}
          />
        </Suspense>
      ) : (
        <p className="hint histogram">{t.review.noFigures}</p>
      )}
    </figure>
  );
}
