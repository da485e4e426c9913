import { type RefObject, Suspense, useEffect, useRef, useState } from "react";
import type { Segment } from "../../api/schema";
import type { WaveHandle } from "../../audio/waveform";
import { useSpoken } from "../../i18n";
import { Badge, Button, Field } from "../../ui/basics";
import { lazily } from "../../ui/lazily";
import { useUnsaved } from "../../ui/unsaved";
import type { Conflict, Edits } from "./edits";
import { LONGEST } from "./filter";

const Waveform = lazily(() => import("../../audio/waveform"));

interface InspectorProps {
  segment: Segment;
  conflict: Conflict | undefined;
  /** Out of sight, where it still plays; a conflict brings it back. */
  folded: boolean;
  mayEdit: boolean;
  wave: RefObject<WaveHandle | null>;
  /** Above 0: play it at once; another number: once more. */
  play: number;
  onPlaying: (now: boolean) => void;
  onEdit: Edits["edit"];
  onSettle: (id: string, mine: boolean) => void;
}

/** The chosen segment in full: its waveform, both texts with room to write, its flags and why it has them. */
export function Inspector({ segment, conflict, folded, mayEdit, wave, play, onPlaying, onEdit, onSettle }: InspectorProps) {
  const { t, f } = useSpoken();
  return (
    <section className="card inspector" aria-label={t.review.chosen} hidden={folded && !conflict}>
      <header className="card-head">
        <h2>{segment.id}</h2>
        <Button
          className="small"
          icon={segment.excluded ? "undo" : "close"}
          needs="dataset:write"
          onClick={() => onEdit(segment, { excluded: !segment.excluded })}
        >
          {segment.excluded ? t.review.include : t.review.exclude}
        </Button>
      </header>
      <Suspense fallback={<div className="wave" />}>
        <Waveform source={segment.audio_url} label={segment.id} handle={wave} play={play} onPlaying={onPlaying} />
      </Suspense>
      {conflict && (
        <div className="note bad" role="alert">
          <div className="stack">
            <strong>{t.review.conflictTitle}</strong>
            <p>
              {t.review.theirs}: <q>{conflict.theirs[differing(conflict)] ?? ""}</q>
            </p>
            {conflict.mine[differing(conflict)] !== undefined && (
              <p>
                {t.review.mine}: <q>{conflict.mine[differing(conflict)]}</q>
              </p>
            )}
            <div className="actions">
              <Button onClick={() => onSettle(segment.id, true)}>{t.review.takeMine}</Button>
              <Button onClick={() => onSettle(segment.id, false)}>{t.review.takeTheirs}</Button>
            </div>
          </div>
        </div>
      )}
      <Area segment={segment} field="transcript" mayEdit={mayEdit} onEdit={onEdit} />
      <Area segment={segment} field="normalised" mayEdit={mayEdit} onEdit={onEdit} />
      {segment.flags.length > 0 && (
        <ul className="stack small">
          {segment.flags.map((one) => (
            <li key={one} className="row tight flag-reason">
              <Badge tone="warn">{t.flagNames[one as keyof typeof t.flagNames] ?? one}</Badge>
              <span className="muted">{t.flags[one as keyof typeof t.flags] ?? ""}</span>
            </li>
          ))}
        </ul>
      )}
      <dl className="facts small">
        <dt>{t.dataset.recording}</dt>
        <dd>
          {segment.source} · {f.clock(segment.start_s, 1)}–{f.clock(segment.end_s, 1)}
        </dd>
        <dt>{t.review.figures.duration}</dt>
        <dd>{f.number(segment.duration_s, 2)} s</dd>
        <dt>{t.review.figures.confidence}</dt>
        <dd>{segment.confidence === null ? "–" : f.number(segment.confidence, 2)}</dd>
        <dt>{t.review.figures.rate}</dt>
        <dd>{segment.characters_per_second === null ? "–" : f.number(segment.characters_per_second, 1)}</dd>
        <dt>{t.review.figures.loudness}</dt>
        <dd>{segment.loudness === null ? "–" : `${f.number(segment.loudness, 1)} LUFS`}</dd>
        <dt>{t.review.noise}</dt>
        <dd>{segment.snr_db === null ? "–" : `${f.number(segment.snr_db)} dB`}</dd>
        <dt>{t.review.clipping}</dt>
        <dd>{segment.clipping === null ? "–" : f.percent(100 * segment.clipping, 2)}</dd>
      </dl>
    </section>
  );
}

/** The text that a conflict is about. */
function differing({ mine, theirs }: Conflict): "transcript" | "normalised" {
  const alike = mine.transcript === undefined || mine.transcript === (theirs.transcript ?? "");
  return alike && mine.normalised !== undefined ? "normalised" : "transcript";
}

interface AreaProps {
  segment: Segment;
  field: "transcript" | "normalised";
  mayEdit: boolean;
  onEdit: Edits["edit"];
}

function Area({ segment, field, mayEdit, onEdit }: AreaProps) {
  const { t } = useSpoken();
  const stored = segment[field] ?? "";
  const [text, setText] = useState(stored);
  // what it said when somebody began to write; what others write meanwhile comes after that
  const [seen, setSeen] = useState<string | null>(null);
  const save = () => {
    if (seen !== null && text !== seen) onEdit(segment, { [field]: text }, { [field]: seen });
    setSeen(null);
  };
  const leaving = useRef(save);
  leaving.current = save;
  useUnsaved(() => seen !== null && text !== seen, seen !== null);
  // what goes away with the focus in it is never told that it lost the focus
  useEffect(() => () => leaving.current(), []);
  useEffect(() => {
    if (seen === null) setText(stored);
  }, [stored, seen]);
  return (
    <Field label={t.review.fields[field]} hint={field === "normalised" ? t.review.normalisedHint : undefined}>
      {(ids) => (
        <textarea
          {...ids}
          rows={2}
          maxLength={LONGEST[field]}
          value={text}
          readOnly={!mayEdit}
          lang={segment.language || undefined}
          onChange={(event) => setText(event.target.value)}
          onFocus={() => setSeen(stored)}
          onBlur={save}
          onKeyDown={(event) => {
            if (event.key === "Escape") setText(seen ?? stored);
            if (event.key === "Enter" && !event.shiftKey) {
              event.preventDefault();
              event.currentTarget.blur();
            }
          }}
        />
      )}
    </Field>
  );
}
