import { useEffect, useLayoutEffect, useRef, useState } from "react";
import type { Preview as Planned } from "../../api/schema";
import { claimPlayback } from "../../audio/playback";
import { type Format, useSpoken } from "../../i18n";
import { Button } from "../../ui/basics";
import { colour, useTheme } from "../../ui/theme";
import "./timeline.css";

const WAVE = 116;
const LEVELS = 66;
const BLOCKS = 26;
const GAP = 8;
const HEIGHT = WAVE + LEVELS + BLOCKS + 2 * GAP;
const FLOOR_DB = -80;
const SPANS = [0, 300, 60, 20] as const;

/** What the gateway answers, as it comes over the wire. */
type Preview = Omit<Planned, "speech"> & { speech: number[][] };

interface TimelineProps {
  preview: Preview;
  threshold: number;
  audioUrl: string;
  name: string;
}

/** A recording with what is speech in it and where it would be cut; drawn anew, in one go, whenever a knob moves. */
export function Timeline({ preview, threshold, audioUrl, name }: TimelineProps) {
  const { t, f } = useSpoken();
  const { dark } = useTheme();
  const canvas = useRef<HTMLCanvasElement>(null);
  const audio = useRef<HTMLAudioElement>(null);
  const [width, setWidth] = useState(0);
  const [span, setSpan] = useState<number>(0);
  const [start, setStart] = useState(0);
  const [time, setTime] = useState(0);
  const [playing, setPlaying] = useState(false);
  const shown = span === 0 ? preview.duration_s : Math.min(span, preview.duration_s);
  const from = Math.min(start, preview.duration_s - shown);

  useLayoutEffect(() => {
    const parent = canvas.current?.parentElement;
    if (!parent) return;
    const observer = new ResizeObserver(() => setWidth(parent.clientWidth));
    observer.observe(parent);
    return () => observer.disconnect();
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: drawn in other colours when the theme changes
  useEffect(() => {
    if (canvas.current && width) draw(canvas.current, width, preview, threshold, from, shown, time, f);
  }, [width, preview, threshold, from, shown, time, dark, f]);

  // While it plays, the view follows.
  useEffect(() => {
    if (playing && (time > from + shown || time < from)) setStart(Math.max(0, time - shown * 0.1));
  }, [playing, time, from, shown]);

  const toggle = () => {
    const player = audio.current;
    if (!player) return;
    if (playing) player.pause();
    else {
      claimPlayback(() => player.pause());
      player.play().catch(() => setPlaying(false));
    }
  };
  const seek = (event: React.MouseEvent<HTMLCanvasElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const place = from + ((event.clientX - box.left) / box.width) * shown;
    if (audio.current) audio.current.currentTime = place;
    setTime(place);
  };
  const forced = preview.segments.filter((one) => one.flags.includes("forced_cut")).length;
  return (
    <div className="timeline">
      <div>
        <canvas
          ref={canvas}
          height={HEIGHT}
          onClick={seek}
          role="img"
          data-cuts={preview.segments.map((one) => one.end_s.toFixed(2)).join(" ")}
          aria-label={t.segment.picture(
            name,
            f.number(preview.segments.length),
            f.clock(preview.total_seconds),
            f.number(forced),
          )}
        />
      </div>
      {shown < preview.duration_s && (
        <input
          type="range"
          aria-label={t.segment.place}
          min={0}
          max={preview.duration_s - shown}
          step={shown / 20}
          value={from}
          onChange={(event) => setStart(event.target.valueAsNumber)}
        />
      )}
      <div className="row spread">
        <span className="row">
          <Button
            compact
            icon={playing ? "pause" : "play"}
            className={playing ? "round playing" : "round"}
            aria-label={`${playing ? t.audio.stop : t.audio.play}: ${name}`}
            onClick={toggle}
          >
            {name}
          </Button>
          <span className="muted small numeric">
            {f.clock(time, 1)} / {f.clock(preview.duration_s)}
          </span>
        </span>
        <select
          aria-label={t.segment.zoom}
          className="zoom"
          value={span}
          onChange={(event) => setSpan(Number(event.target.value))}
        >
          {SPANS.map((one) => (
            <option key={one} value={one}>
              {one === 0 ? t.segment.whole : f.span(one)}
            </option>
          ))}
        </select>
      </div>
      <p className="legend-row small muted">
        <span className="swatch speech">{t.segment.speech}</span>
        <span className="swatch cut">{t.segment.cut}</span>
        <span className="swatch forced">{t.segment.forced}</span>
      </p>
      {/* biome-ignore lint/a11y/useMediaCaption: speech that is to be transcribed has no captions yet */}
      <audio
        ref={audio}
        src={audioUrl}
        preload="none"
        onPlay={() => setPlaying(true)}
        onPause={() => setPlaying(false)}
        onTimeUpdate={(event) => setTime(event.currentTarget.currentTime)}
      />
    </div>
  );
}

function draw(
  canvas: HTMLCanvasElement,
  width: number,
  preview: Preview,
  threshold: number,
  from: number,
  shown: number,
  time: number,
  f: Format,
): void {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(HEIGHT * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${HEIGHT}px`;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.scale(ratio, ratio);
  const x = (seconds: number) => ((seconds - from) / shown) * width;
  const visible = (a: number, b: number) => b >= from && a <= from + shown;
  const line = colour("--line");
  const wave = colour("--wave");
  const accent = colour("--accent");
  const soft = colour("--accent-soft");
  const warn = colour("--warn");
  const ink = colour("--ink-2");
  const surface = colour("--surface");

  // what is speech, behind everything
  pen.fillStyle = soft;
  for (const [a = 0, b = 0] of preview.speech)
    if (visible(a, b)) pen.fillRect(x(a), 0, Math.max(1, x(b) - x(a)), WAVE + GAP + LEVELS);

  // the waveform: the highest peak of each column
  const middle = WAVE / 2;
  const loudest = Math.max(0.05, ...preview.peaks);
  pen.fillStyle = accent;
  const inside = columns(
    preview.segments.map((one) => [one.start_s, one.end_s]),
    width,
    from,
    shown,
  );
  for (let column = 0; column < width; column++) {
    const peak = highest(
      preview.peaks,
      preview.peak_seconds,
      from + (column / width) * shown,
      from + ((column + 1) / width) * shown,
      0,
    );
    const height = Math.max(1, (peak / loudest) * (WAVE - 6));
    pen.fillStyle = inside[column] ? accent : wave;
    pen.fillRect(column, middle - height / 2, 1, height);
  }

  // the level, and the threshold that it is held against
  const top = WAVE + GAP;
  const y = (db: number) => top + LEVELS - ((Math.max(FLOOR_DB, Math.min(0, db)) - FLOOR_DB) / -FLOOR_DB) * LEVELS;
  pen.strokeStyle = ink;
  pen.lineWidth = 1;
  pen.beginPath();
  for (let column = 0; column < width; column++) {
    const level = highest(
      preview.levels_db,
      preview.level_seconds,
      from + (column / width) * shown,
      from + ((column + 1) / width) * shown,
      FLOOR_DB,
    );
    pen.lineTo(column + 0.5, y(level));
  }
  pen.stroke();
  pen.strokeStyle = warn;
  pen.setLineDash([5, 4]);
  pen.beginPath();
  pen.moveTo(0, y(threshold));
  pen.lineTo(width, y(threshold));
  pen.stroke();
  pen.setLineDash([]);
  pen.fillStyle = warn;
  pen.font = "11px system-ui, sans-serif";
  pen.fillText(`${threshold} dB`, 4, y(threshold) - 4);

  // the segments that come of it
  const bottom = WAVE + LEVELS + 2 * GAP;
  for (const [index, one] of preview.segments.entries()) {
    if (!visible(one.start_s, one.end_s)) continue;
    const [left, right] = [x(one.start_s), x(one.end_s)];
    const flagged = one.flags.includes("forced_cut");
    pen.fillStyle = flagged ? warn : accent;
    pen.globalAlpha = index % 2 ? 0.55 : 0.85;
    pen.beginPath();
    pen.roundRect(left + 0.5, bottom, Math.max(1, right - left - 1), BLOCKS, 4);
    pen.fill();
    pen.globalAlpha = 0.7;
    pen.fillRect(left, 0, 1, bottom);
    pen.fillRect(right, 0, 1, bottom);
    pen.globalAlpha = 1;
    if (right - left > 34) {
      pen.fillStyle = surface;
      pen.fillText(f.number(one.end_s - one.start_s, 1), left + 7, bottom + 17);
    }
  }
  pen.fillStyle = line;
  pen.fillRect(0, top - GAP / 2, width, 1);
  if (time >= from && time <= from + shown) {
    pen.fillStyle = ink;
    pen.fillRect(x(time), 0, 2, HEIGHT);
  }
}

function highest(values: number[], seconds: number, a: number, b: number, least: number): number {
  let most = least;
  const last = Math.min(values.length - 1, Math.max(Math.floor(a / seconds), Math.ceil(b / seconds) - 1));
  for (let index = Math.max(0, Math.floor(a / seconds)); index <= last; index++) {
    const value = values[index];
    if (value !== undefined && value > most) most = value;
  }
  return most;
}

/** Which columns of pixels lie in one of the spans. */
function columns(spans: [number, number][], width: number, from: number, shown: number): Uint8Array {
  const inside = new Uint8Array(width);
  for (const [a, b] of spans) {
    const first = Math.max(0, Math.floor(((a - from) / shown) * width));
    const last = Math.min(width, Math.ceil(((b - from) / shown) * width));
    if (last > first) inside.fill(1, first, last);
  }
  return inside;
}
