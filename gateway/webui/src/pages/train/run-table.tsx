import { Link } from "wouter";
import type { Run } from "../../api/schema";
import { useSpoken } from "../../i18n";
import { bareName, datasetPath } from "../../names";
import { Card, StateBadge, Wide } from "../../ui/basics";

interface RunTableProps {
  runs: Run[];
  chosen: string[];
  onChoose: (ids: string[]) => void;
}

const MOST = 6;

/** Every run there was; those that are ticked are drawn together. */
export function RunTable({ runs, chosen, onChoose }: RunTableProps) {
  const { t, f } = useSpoken();
  return (
    <Card className="flush" title={t.train.runs}>
      <Wide label={t.train.runs}>
        <table className="runs">
          <thead>
            <tr>
              <th scope="col">
                <span className="hidden-text">{t.train.compare}</span>
              </th>
              <th scope="col">{t.train.model}</th>
              <th scope="col" className="second-rate">
                {t.train.state}
              </th>
              <th scope="col" className="third-rate">
                {t.voices.dataset}
              </th>
              <th scope="col" className="numeric">
                {t.train.epochs}
              </th>
              <th scope="col" className="numeric third-rate">
                {t.train.batch}
              </th>
              <th scope="col" className="numeric third-rate">
                {t.train.rate}
              </th>
              <th scope="col" className="numeric">
                {t.train.loss}
              </th>
              <th scope="col" className="numeric second-rate">
                {t.train.heldOut}
              </th>
              <th scope="col" className="second-rate">
                {t.jobs.started}
              </th>
            </tr>
          </thead>
          <tbody>
            {runs.map((run) => {
              const place = chosen.indexOf(run.job_id);
              return (
                <tr key={run.job_id}>
                  <td>
                    <input
                      type="checkbox"
                      aria-label={`${t.train.compare}: ${run.model_name}, ${run.started_at ? f.date(run.started_at) : ""}`}
                      checked={place >= 0}
                      disabled={place < 0 && chosen.length >= MOST}
                      data-hue={place >= 0 ? place : undefined}
                      onChange={(event) =>
                        onChoose(event.target.checked ? [...chosen, run.job_id] : chosen.filter((id) => id !== run.job_id))
                      }
                    />
                  </td>
                  <td>
                    <Link href={`/jobs/${run.job_id}`}>{run.model_name}</Link>
                    <div className="second small muted">
                      <StateBadge state={run.state} />
                      {run.started_at && f.ago(run.started_at)}
                    </div>
                  </td>
                  <td className="second-rate">
                    <StateBadge state={run.state} />
                  </td>
                  <td className="third-rate">
                    <Link href={datasetPath(run.parameters.dataset_folder)}>{bareName(run.parameters.dataset_folder)}</Link>
                  </td>
                  <td className="numeric">
                    {f.number(run.epochs_done)} / {f.number(run.parameters.epochs)}
                  </td>
                  <td className="numeric third-rate">{f.number(run.parameters.batch_size)}</td>
                  <td className="numeric third-rate">{run.parameters.learning_rate.toPrecision(2)}</td>
                  <td className="numeric">{run.last_loss === null ? "–" : f.loss(run.last_loss)}</td>
                  <td className="numeric second-rate">{run.last_eval_loss === null ? "–" : f.loss(run.last_eval_loss)}</td>
                  <td className="muted second-rate">{run.started_at ? f.ago(run.started_at) : "–"}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Wide>
    </Card>
  );
}
