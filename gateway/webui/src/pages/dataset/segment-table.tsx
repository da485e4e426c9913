import { defaultRangeExtractor, useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, memo, useEffect, useLayoutEffect, useRef } from "react";
import type { Segment } from "../../api/schema";
import { keptOutline, readOutline } from "../../audio/peaks";
import { useSpoken } from "../../i18n";
import { Badge, Button } from "../../ui/basics";
import { Icon } from "../../ui/icons";
import { colour, useTheme } from "../../ui/theme";
import { useUnsaved } from "../../ui/unsaved";
import type { Conflict, Edits } from "./edits";
import { type Figure, type Filter, LONGEST } from "./filter";

const ROW = 62;
const OVERSCAN = 6;
const OUTLINE = 48;
const STILL_MILLISECONDS = 160;

export interface Editing {
  id: string;
  field: "transcript" | "normalised";
}

interface TableProps {
  segments: Segment[];
  total: number;
  active: number;
  playing: boolean;
  editing: Editing | null;
  mayEdit: boolean;
  conflicts: ReadonlyMap<string, Conflict>;
  sort: Filter["sort"];
  down: boolean;
  onSort: (sort: Filter["sort"]) => void;
  onSelect: (index: number) => void;
  onNext: () => void;
  onPlay: (index: number) => void;
  onEditing: (editing: Editing | null) => void;
  onEdit: Edits["edit"];
  onDetails: () => void;
  onUndo: () => void;
}

/** What a row may ask for; one object for the life of the table, so that rows are drawn only when they change. */
interface Actions {
  select: (index: number) => void;
  play: (index: number) => void;
  exclude: (index: number) => void;
  begin: (index: number, field: Editing["field"]) => void;
  save: (one: Segment, field: Editing["field"], text: string, seen: string, then: "stay" | "next" | "other") => void;
  cancel: () => void;
}

const COLUMNS: readonly { figure: Figure; className: string }[] = [
  { figure: "duration", className: "c-duration" },
  { figure: "confidence", className: "c-confidence" },
  { figure: "rate", className: "c-rate" },
  { figure: "loudness", className: "c-loudness" },
];

/** Thousands of segments, of which only those in view are in the document. */
export function SegmentTable(props: TableProps) {
  const { segments, active, editing, mayEdit, sort, down } = props;
  const { t } = useSpoken();
  const grid = useRef<HTMLDivElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const latest = useRef(props);
  latest.current = props;
  const virtual = useVirtualizer({
    count: segments.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: OVERSCAN,
    // what somebody writes stays in the document, however far they look around
    rangeExtractor: (range) => {
      const shown = defaultRangeExtractor(range);
      const at = editing ? segments.findIndex((one) => one.id === editing.id) : -1;
      return at < 0 || shown.includes(at) ? shown : [...shown, at].sort((a, b) => a - b);
    },
    useFlushSync: false,
  });

  // biome-ignore lint/correctness/useExhaustiveDependencies: only when another one is chosen
  useEffect(() => {
    virtual.scrollToIndex(active, { align: "auto" });
  }, [active]);

  const actions = useRef<Actions>({
    select: (index) => latest.current.onSelect(index),
    play: (index) => latest.current.onPlay(index),
    exclude: (index) => {
      const one = latest.current.segments[index];
      if (one) latest.current.onEdit(one, { excluded: !one.excluded });
    },
    begin: (index, field) => {
      const one = latest.current.segments[index];
      if (!one || !latest.current.mayEdit) return;
      latest.current.onSelect(index);
      latest.current.onEditing({ id: one.id, field });
    },
    save: (one, field, text, seen, then) => {
      const { onEdit, onEditing, onNext } = latest.current;
      if (text !== seen) onEdit(one, { [field]: text }, { [field]: seen });
      onEditing(then === "other" ? { id: one.id, field: field === "transcript" ? "normalised" : "transcript" } : null);
      if (then === "next") onNext();
      if (then !== "other") grid.current?.focus({ preventScroll: true });
    },
    cancel: () => {
      latest.current.onEditing(null);
      grid.current?.focus({ preventScroll: true });
    },
  }).current;

  const keydown = (event: KeyboardEvent) => {
    // a button in a row does by itself what it is for
    if (event.target !== grid.current && (event.key === "Enter" || event.key === " ")) return;
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? ROW) / ROW) - 1);
    const moves: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -segments.length,
      End: segments.length,
    };
    const move = moves[event.key];
    if (move !== undefined) props.onSelect(active + move);
    else if (event.key === "Enter") props.onNext();
    else if (event.key === " ") props.onPlay(active);
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) props.onUndo();
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "x" && mayEdit) {
      actions.exclude(active);
      grid.current?.focus({ preventScroll: true }); // the row may leave the list, and the focus with it
    } else if (event.key === "e") actions.begin(active, "transcript");
    else if (event.key === "n") actions.begin(active, "normalised");
    else if (event.key === "i") props.onDetails();
    else return;
    event.preventDefault();
  };

  const items = virtual.getVirtualItems();
  const inView = items.some((one) => one.index === active);
  const heading = (name: Filter["sort"], label: string, className: string) => (
    <div role="columnheader" className={className} aria-sort={sort === name ? (down ? "descending" : "ascending") : "none"}>
      <button type="button" onClick={() => props.onSort(name)}>
        {label}
        <span aria-hidden="true">{sort === name ? (down ? " ↓" : " ↑") : ""}</span>
      </button>
    </div>
  );
  return (
    <div
      ref={grid}
      className="card flush segments"
      role="grid"
      tabIndex={0}
      aria-label={t.review.table}
      aria-activedescendant={inView ? `row-${segments[active]?.id}` : undefined}
      onKeyDown={keydown}
      aria-rowcount={segments.length + 1}
      aria-colcount={8}
    >
      <div role="rowgroup" className="segment-head">
        <div role="row" aria-rowindex={1} className="segment-row">
          {heading("number", t.review.segment, "c-id")}
          <div role="columnheader" className="c-wave">
            {t.review.wave}
          </div>
          <div role="columnheader" className="c-text">
            {t.review.text}
          </div>
          {COLUMNS.map((one) => (
            <Heading key={one.figure}>{heading(one.figure, t.review.short[one.figure], `${one.className} numeric`)}</Heading>
          ))}
          <div role="columnheader" className="c-exclude">
            <span className="hidden-text">{t.review.exclude}</span>
          </div>
        </div>
      </div>
      <div ref={scroller} className="segment-scroll" role="rowgroup">
        <div role="presentation" className="segment-space" style={{ height: virtual.getTotalSize() }}>
          {items.map(({ index, start }) => {
            const one = segments[index];
            if (!one) return null;
            return (
              <Row
                key={one.id}
                segment={one}
                index={index}
                top={start}
                active={index === active}
                playing={index === active && props.playing}
                editing={editing?.id === one.id ? editing.field : null}
                conflict={props.conflicts.has(one.id)}
                mayEdit={mayEdit}
                actions={actions}
              />
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Heading({ children }: { children: React.ReactNode }) {
  return children;
}

interface RowProps {
  segment: Segment;
  index: number;
  top: number;
  active: boolean;
  playing: boolean;
  editing: Editing["field"] | null;
  conflict: boolean;
  mayEdit: boolean;
  actions: Actions;
}

const Row = memo(function Row({ segment, index, top, active, playing, editing, conflict, mayEdit, actions }: RowProps) {
  const { t, f } = useSpoken();
  const number = segment.id.replace(/^segment_0*(?=\d)/, "");
  const figure = (value: number | null, digits: number) => (value === null ? "–" : f.number(value, digits));
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the table listens to the keys
    <div
      role="row"
      id={`row-${segment.id}`}
      aria-rowindex={index + 2}
      aria-selected={active}
      tabIndex={-1}
      className={`segment-row${active ? " active" : ""}${segment.excluded ? " excluded" : ""}`}
      style={{ transform: `translateY(${top}px)` }}
      onClick={() => actions.select(index)}
    >
      <div role="gridcell" className="c-id">
        <Button
          kind="quiet"
          compact
          className={playing ? "small round playing" : "small round"}
          icon={playing ? "pause" : "play"}
          tabIndex={active ? 0 : -1}
          aria-label={`${playing ? t.audio.stop : t.audio.play}: ${segment.id}`}
          onClick={(event) => {
            event.stopPropagation();
            actions.play(index);
          }}
        >
          {segment.id}
        </Button>
        <span className="numeric muted small">{number}</span>
      </div>
      <div role="gridcell" className="c-wave">
        <Outline url={segment.audio_url} />
      </div>
      <div role="gridcell" className="c-text">
        <Text
          segment={segment}
          index={index}
          field="transcript"
          editing={editing === "transcript"}
          mayEdit={mayEdit}
          actions={actions}
        />
        <div className="c-second">
          <Text
            segment={segment}
            index={index}
            field="normalised"
            editing={editing === "normalised"}
            mayEdit={mayEdit}
            actions={actions}
          />
          {conflict && <Badge tone="bad">{t.review.conflict}</Badge>}
          {segment.edited && <Badge tone="accent">{t.review.edited}</Badge>}
          {segment.flags.slice(0, 2).map((one) => (
            <Badge key={one} tone="warn" title={t.flags[one as keyof typeof t.flags] ?? one}>
              {t.flagNames[one as keyof typeof t.flagNames] ?? one}
            </Badge>
          ))}
          {segment.flags.length > 2 && <Badge tone="warn">+{segment.flags.length - 2}</Badge>}
        </div>
      </div>
      <div role="gridcell" className="c-duration numeric">
        {figure(segment.duration_s, 1)}
      </div>
      <div role="gridcell" className="c-confidence numeric">
        {figure(segment.confidence, 2)}
      </div>
      <div role="gridcell" className="c-rate numeric">
        {figure(segment.characters_per_second, 1)}
      </div>
      <div role="gridcell" className="c-loudness numeric">
        {figure(segment.loudness, 1)}
      </div>
      <div role="gridcell" className="c-exclude">
        <button
          type="button"
          className="exclude"
          tabIndex={active ? 0 : -1}
          disabled={!mayEdit}
          aria-pressed={segment.excluded}
          aria-label={`${t.review.exclude}: ${segment.id}`}
          title={segment.excluded ? t.review.include : t.review.exclude}
          onClick={(event) => {
            event.stopPropagation();
            actions.exclude(index);
          }}
        >
          <Icon name={segment.excluded ? "undo" : "close"} />
        </button>
      </div>
    </div>
  );
});

interface TextProps {
  segment: Segment;
  index: number;
  field: Editing["field"];
  editing: boolean;
  mayEdit: boolean;
  actions: Actions;
}

/** One of the two texts, to be read, or to be written in place. */
function Text({ segment, index, field, editing, mayEdit, actions }: TextProps) {
  const { t } = useSpoken();
  const value = segment[field];
  const ended = useRef(false);
  const input = useRef<HTMLInputElement>(null);
  const seen = useRef("");
  const written = useRef("");
  const leave = useRef(() => {});
  // biome-ignore lint/correctness/useExhaustiveDependencies: what it said when the writing began
  useLayoutEffect(() => {
    ended.current = false;
    seen.current = value ?? "";
    written.current = seen.current;
    if (!editing) return;
    input.current?.focus();
    // what goes away with the focus in it is never told that it lost the focus
    return () => leave.current();
  }, [editing]);
  useUnsaved(() => written.current !== seen.current && !ended.current, editing);
  if (!editing) {
    return (
      // biome-ignore lint/a11y/noStaticElementInteractions: the keys e and n do the same
      <span
        className={`segment-text ${field}`}
        title={mayEdit ? t.review.editHint : undefined}
        onDoubleClick={() => actions.begin(index, field)}
      >
        {value ?? (field === "transcript" ? <em>{t.review.noText}</em> : "")}
      </span>
    );
  }
  const save = (then: "stay" | "next" | "other") => {
    if (ended.current) return;
    ended.current = true;
    actions.save(segment, field, written.current, seen.current, then);
  };
  leave.current = () => {
    if (written.current !== seen.current) save("stay");
  };
  return (
    <input
      ref={input}
      className={`segment-edit ${field}`}
      defaultValue={value ?? ""}
      onChange={(event) => {
        written.current = event.target.value;
      }}
      maxLength={LONGEST[field]}
      aria-label={`${t.review.fields[field]}: ${segment.id}`}
      onClick={(event) => event.stopPropagation()}
      onBlur={() => save("stay")}
      onKeyDown={(event) => {
        event.stopPropagation();
        if (event.key === "Enter") save("next");
        else if (event.key === "Tab") save("other");
        else if (event.key === "Escape") {
          ended.current = true;
          actions.cancel();
        } else return;
        event.preventDefault();
      }}
    />
  );
}

/** The outline of a segment; read only once the table is still, so that scrolling past it costs nothing. */
function Outline({ url }: { url: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { dark } = useTheme();
  // biome-ignore lint/correctness/useExhaustiveDependencies: drawn in other colours when the theme changes
  useEffect(() => {
    const draw = (peaks: Float32Array) => {
      if (canvas.current) paint(canvas.current, peaks);
    };
    const kept = keptOutline(url);
    if (kept) {
      draw(kept);
      return;
    }
    const abort = new AbortController();
    const timer = setTimeout(() => readOutline(url, OUTLINE, abort.signal).then(draw, () => {}), STILL_MILLISECONDS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [url, dark]);
  return <canvas ref={canvas} width={OUTLINE * 4} height={56} aria-hidden="true" />;
}

function paint(canvas: HTMLCanvasElement, peaks: Float32Array): void {
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = colour("--wave");
  const most = Math.max(0.05, ...peaks);
  for (const [index, peak] of peaks.entries()) {
    const height = Math.max(2, (peak / most) * (canvas.height - 4));
    pen.fillRect(4 * index, (canvas.height - height) / 2, 2.6, height);
  }
}
