import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import "./plots.css";
import { useSpoken } from "../i18n";
import { colour, useTheme } from "../ui/theme";

export interface Line {
  label: string;
  x: number[];
  y: (number | null)[];
  /** Which of the colours of curves. */
  hue: number;
  dashed?: boolean;
  faint?: boolean;
  /** Points, rather than a line that joins many. */
  dots?: boolean;
}

export const HUES = ["--accent", "--curve-2", "--curve-3", "--curve-4", "--curve-5", "--curve-6"] as const;

/** Columns of all curves over one axis, as uPlot wants them. */
function aligned(lines: Line[]): uPlot.AlignedData {
  const tables = lines.map((line) => [line.x, line.y] as uPlot.AlignedData);
  if (!tables.length) return [[]];
  return tables.length === 1 && tables[0] ? tables[0] : uPlot.join(tables);
}

function option(line: Line): uPlot.Series {
  const stroke = colour(HUES[line.hue % HUES.length] ?? HUES[0]);
  return {
    label: line.label,
    stroke: line.faint ? stroke.replace("rgb(", "rgba(").replace(")", ", 0.28)") : stroke,
    width: line.faint ? 1 : 2,
    spanGaps: true,
    points: { show: line.dots ?? false, size: 6, fill: stroke },
    ...(line.dashed ? { dash: [6, 4] } : {}),
  };
}

/** Curves over steps: they can be zoomed by dragging and read by pointing. The name says to a screen reader what they show. */
export default function Chart({
  lines,
  name,
  height = 300,
  logarithmic = false,
}: {
  lines: Line[];
  name: string;
  height?: number;
  logarithmic?: boolean;
}) {
  const { f, t } = useSpoken();
  const { dark } = useTheme();
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shape = lines.map((line) => `${line.label}|${line.hue}|${line.dashed}|${line.faint}|${line.dots}`).join("\n");
  const latest = useRef(lines);
  latest.current = lines;

  // biome-ignore lint/correctness/useExhaustiveDependencies: drawn anew when there are other curves, or other colours
  useEffect(() => {
    const parent = box.current;
    if (!parent) return;
    const ink = colour("--ink-2");
    const grid = { stroke: colour("--line"), width: 1 };
    const font = `12px ${getComputedStyle(document.documentElement).fontFamily}`;
    const axis = { stroke: ink, grid, ticks: grid, font };
    const options: uPlot.Options = {
      width: parent.clientWidth || 600,
      height,
      scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
      axes: [
        { ...axis, values: (_, ticks) => ticks.map((one) => f.number(one)) },
        { ...axis, size: 64, values: (_, ticks) => ticks.map((one) => (one === null ? "" : f.number(one, one < 10 ? 2 : 1))) },
      ],
      series: [
        { label: t.train.step, value: (_, one) => (one === null ? "–" : f.number(one)) },
        ...latest.current.map((line) => ({
          ...option(line),
          value: (_: uPlot, one: number | null) => (one === null ? "–" : f.loss(one)),
        })),
      ],
      cursor: { drag: { x: true, y: false }, focus: { prox: 24 } },
      legend: { live: true },
    };
    const made = new uPlot(options, aligned(latest.current), parent);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: parent.clientWidth, height }));
    observer.observe(parent);
    return () => {
      observer.disconnect();
      plot.current = null;
      made.destroy();
    };
  }, [shape, height, dark, logarithmic, f, t]);

  useEffect(() => {
    plot.current?.setData(aligned(lines));
  }, [lines]);

  return <div ref={box} className="plot" role="img" aria-label={name} />;
}
