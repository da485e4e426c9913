import { useQueries } from "@tanstack/react-query";
import { Suspense, useMemo } from "react";
import { usePolling } from "../../api/live";
import { metrics } from "../../api/queries";
import type { Run, Series, TrainingMetrics } from "../../api/schema";
import { useSpoken } from "../../i18n";
import type { Line } from "../../plots/chart";
import { Card, Figure, Skeleton } from "../../ui/basics";
import { lazily } from "../../ui/lazily";
import { useStored } from "../../ui/stored";

const Chart = lazily(() => import("../../plots/chart"));

/** Steps over which the present speed is measured. */
const SPEED_STEPS = 50;

/** The losses of one run or several in one plot, smoothed as one likes, and the figures of the first. */
export function Curves({ runs }: { runs: Run[] }) {
  const { t, f } = useSpoken();
  const [smoothing, setSmoothing] = useStored("smoothing", 0.8);
  const [logarithmic, setLogarithmic] = useStored("logarithmic", false);
  const refetchInterval = usePolling();
  const found = useQueries({
    queries: runs.map((run) => ({ ...metrics(run.job_id), refetchInterval, staleTime: run.state === "running" ? 0 : 60_000 })),
  });
  const first = runs[0];
  const data = found.map((one) => one.data);
  const key = found.map((one) => one.dataUpdatedAt).join();
  // biome-ignore lint/correctness/useExhaustiveDependencies: computed anew when a run's figures were read anew
  const lines = useMemo(() => curves(runs, data, smoothing, t), [key, runs, smoothing, t]);
  const waiting = found.some((one) => one.isPending);
  const loss = data[0]?.series.loss;
  const speed = loss ? stepsPerSecond(loss) : null;
  return (
    <Card
      title={runs.length > 1 ? t.train.compared(runs.length) : t.train.lossOf(first?.model_name ?? "")}
      actions={
        <div className="row">
          <label className="row tight small">
            {t.train.smoothing}
            <input
              type="range"
              className="smoothing"
              min={0}
              max={0.98}
              step={0.02}
              value={smoothing}
              onChange={(event) => setSmoothing(event.target.valueAsNumber)}
            />
          </label>
          <label className="check small">
            <input type="checkbox" checked={logarithmic} onChange={(event) => setLogarithmic(event.target.checked)} />
            <span>{t.train.logarithmic}</span>
          </label>
        </div>
      }
    >
      {first && (
        <dl className="figures" aria-live="off">
          <Figure label={t.train.epoch}>
            {f.number(first.epochs_done)} / {f.number(first.parameters.epochs)}
          </Figure>
          <Figure label={t.train.loss}>{first.last_loss === null ? "–" : f.loss(first.last_loss)}</Figure>
          <Figure label={t.train.heldOut}>{first.last_eval_loss === null ? "–" : f.loss(first.last_eval_loss)}</Figure>
          <Figure label={t.train.throughput} hint={t.train.throughputHint}>
            {speed === null
              ? "–"
              : t.train.speed(f.number(speed, speed < 10 ? 2 : 1), f.number(speed * first.parameters.batch_size, 1))}
          </Figure>
          <Figure label={t.train.steps}>{f.number(loss?.steps.at(-1) ?? 0)}</Figure>
        </dl>
      )}
      {waiting && !lines.length ? (
        <Skeleton rows={1} height={300} />
      ) : lines.length ? (
        <Suspense fallback={<Skeleton rows={1} height={300} />}>
          <Chart lines={lines} logarithmic={logarithmic} name={described(lines, t, f.loss)} />
        </Suspense>
      ) : (
        <p className="muted">{t.train.noLoss}</p>
      )}
    </Card>
  );
}

type Messages = ReturnType<typeof useSpoken>["t"];

function curves(runs: Run[], data: (TrainingMetrics | undefined)[], weight: number, t: Messages): Line[] {
  return runs.flatMap((run, index) => {
    const loss = data[index]?.series.loss;
    const heldOut = data[index]?.series.eval_loss;
    const prefix = runs.length > 1 ? `${run.model_name} ${index + 1} · ` : "";
    const lines: Line[] = [];
    if (loss?.steps.length) {
      if (weight > 0 && runs.length === 1)
        lines.push({ label: `${prefix}${t.train.raw}`, x: loss.steps, y: loss.values, hue: index, faint: true });
      lines.push({ label: `${prefix}${t.train.loss}`, x: loss.steps, y: smoothed(loss.values, weight), hue: index });
    }
    if (heldOut?.steps.length) {
      lines.push({
        label: `${prefix}${t.train.heldOut}`,
        x: heldOut.steps,
        y: heldOut.values,
        hue: runs.length > 1 ? index : 1,
        dashed: true,
        dots: heldOut.steps.length < 60,
      });
    }
    return lines;
  });
}

/** An exponential moving average that begins at the first value without a bias (Kingma & Ba 2014, section 3). */
export function smoothed(values: (number | null)[], weight: number): (number | null)[] {
  let mean = 0;
  let seen = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    seen += 1;
    return mean / (1 - weight ** seen);
  });
}

function stepsPerSecond({ steps, times }: Series): number | null {
  const from = Math.max(0, steps.length - SPEED_STEPS);
  const [firstStep, lastStep, firstTime, lastTime] = [steps[from], steps.at(-1), times[from], times.at(-1)];
  if (firstStep === undefined || lastStep === undefined || firstTime === undefined || lastTime === undefined) return null;
  return lastTime > firstTime ? (lastStep - firstStep) / (lastTime - firstTime) : null;
}

/** The plot in words, for whoever cannot see it. */
function described(lines: Line[], t: Messages, loss: (value: number) => string): string {
  const parts = lines
    .filter((one) => !one.faint)
    .map((one) => {
      const values = one.y.filter((value) => value !== null);
      const [first, last] = [values[0], values.at(-1)];
      return first === undefined || last === undefined ? one.label : t.train.fromTo(one.label, loss(first), loss(last));
    });
  return `${t.train.plot}: ${parts.join("; ")}`;
}
