import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import "./plots.css";
import { useSpoken } from "../i18n";
import { colour, useTheme } from "../ui/theme";

interface HistogramProps {
  values: number[];
  name: string;
  /** Bounds of what is looked at; dragging over the plot sets them, a double click takes them away. */
  range: readonly [number | null, number | null];
  onRange: (low: number | null, high: number | null) => void;
  bins?: number;
}

function count(values: number[], bins: number): { edges: number[]; counts: number[]; width: number } {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const width = (high - low || 1) / bins;
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) {
    const bin = Math.min(bins - 1, Math.floor((value - low) / width));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return { edges: counts.map((_, index) => low + index * width), counts, width };
}

/** How a figure is distributed over the segments, and a way to pick a part of it. */
export default function Histogram({ values, name, range, onRange, bins = 24 }: HistogramProps) {
  const { f } = useSpoken();
  const { dark } = useTheme();
  const box = useRef<HTMLDivElement>(null);
  const told = useRef(onRange);
  told.current = onRange;
  const [low, high] = range;

  // biome-ignore lint/correctness/useExhaustiveDependencies: drawn anew in other colours
  useEffect(() => {
    const parent = box.current;
    if (!parent || !values.length) return;
    const { edges, counts, width } = count(values, bins);
    const inside = edges.map((edge) => (low === null || edge + width > low) && (high === null || edge < high));
    const font = `11px ${getComputedStyle(document.documentElement).fontFamily}`;
    const bars = uPlot.paths.bars?.({ size: [0.92, 100], align: 1, radius: 0.15 });
    const series = (colourName: string, shown: boolean): uPlot.Series => ({
      fill: colour(colourName),
      stroke: "transparent",
      width: 0,
      points: { show: false },
      show: shown,
      ...(bars ? { paths: bars } : {}),
    });
    const options: uPlot.Options = {
      width: parent.clientWidth || 240,
      height: 112,
      padding: [8, 14, 0, 14],
      scales: { x: { time: false }, y: { range: (_, __, most) => [0, most * 1.05] } },
      axes: [
        {
          stroke: colour("--ink-2"),
          font,
          size: 24,
          gap: 3,
          grid: { show: false },
          ticks: { show: false },
          values: (_, ticks, __, ___, step) => ticks.map((one) => f.number(one, step < 0.1 ? 2 : step < 1 ? 1 : 0)),
        },
        { show: false },
      ],
      series: [{}, series("--wave", true), series("--accent", true)],
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      legend: { show: false },
      hooks: {
        setSelect: [
          (plot) => {
            if (plot.select.width < 3) return;
            const from = plot.posToVal(plot.select.left, "x");
            const to = plot.posToVal(plot.select.left + plot.select.width, "x");
            told.current(Number(from.toFixed(3)), Number(to.toFixed(3)));
          },
        ],
      },
    };
    const all = counts.map((one, index) => (inside[index] ? null : one));
    const chosen = counts.map((one, index) => (inside[index] ? one : null));
    const last = (edges.at(-1) ?? 0) + width;
    const made = new uPlot(
      options,
      [
        [...edges, last],
        [...all, null],
        [...chosen, null],
      ],
      parent,
    );
    const clear = () => told.current(null, null);
    parent.addEventListener("dblclick", clear);
    const observer = new ResizeObserver(() => made.setSize({ width: parent.clientWidth, height: 112 }));
    observer.observe(parent);
    return () => {
      observer.disconnect();
      parent.removeEventListener("dblclick", clear);
      made.destroy();
    };
  }, [values, bins, low, high, dark, f]);

  return <div ref={box} className="plot histogram" role="img" aria-label={name} />;
}
