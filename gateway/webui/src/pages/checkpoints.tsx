import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { useAct } from "../api/act";
import { api, ask } from "../api/client";
import { usePolling } from "../api/live";
import { checkpoints as checkpointsQuery, keys } from "../api/queries";
import type { Checkpoint } from "../api/schema";
import { useSpoken } from "../i18n";
import { checkpointName } from "../names";
import { Badge, Button, Card, Dialog, Empty, ErrorNote, Page, Skeleton, Wide } from "../ui/basics";
import { useParameters } from "../ui/parameters";
import { saveExport } from "../ui/save";
import { toast } from "../ui/toasts";
import { Samples } from "./checkpoints/samples";
import "./checkpoints/checkpoints.css";

/** So many rows at first, and more at a time. */
const ROWS = 100;

/** The checkpoints of one voice or all: what each is worth, what it sounds like, and which one speaks. */
export default function Checkpoints() {
  const { t } = useSpoken();
  const [parameters, setParameters] = useParameters();
  const { data, error, isPending, refetch } = useQuery({ ...checkpointsQuery, refetchInterval: usePolling() });
  const models = [...new Set(data?.map((one) => one.model_name))];
  const asked = parameters.get("model") ?? "";
  const model = models.includes(asked) ? asked : ""; // the last one of a model may be gone
  const [most, setMost] = useState(ROWS);
  const shown = (data ?? []).filter((one) => !model || one.model_name === model);
  return (
    <Page
      title={t.places.checkpoints}
      lead={t.checkpoints.lead}
      actions={
        models.length > 1 && (
          <select aria-label={t.train.model} value={model} onChange={(event) => setParameters({ model: event.target.value })}>
            <option value="">{t.checkpoints.all}</option>
            {models.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        )
      }
    >
      <ErrorNote error={error} again={() => refetch()} />
      {isPending && <Skeleton rows={5} />}
      {data && !shown.length && (
        <Card>
          <Empty
            icon="checkpoints"
            title={t.checkpoints.none}
            action={
              <Link className="button primary" href="/train">
                {t.places.train}
              </Link>
            }
          >
            {t.checkpoints.noneHint}
          </Empty>
        </Card>
      )}
      {shown.length > 0 && (
        <Card className="flush">
          <Wide label={t.places.checkpoints}>
            <table className="checkpoints">
              <thead>
                <tr>
                  <th scope="col">{t.train.model}</th>
                  <th scope="col" className="numeric">
                    {t.train.epoch}
                  </th>
                  <th scope="col" className="numeric">
                    {t.train.loss}
                  </th>
                  <th scope="col" className="numeric">
                    {t.train.heldOut}
                  </th>
                  <th scope="col" className="numeric" title={t.ab.similarityHint}>
                    {t.ab.similarity}
                  </th>
                  <th scope="col" className="numeric" title={t.ab.mfccHint}>
                    {t.ab.mfcc}
                  </th>
                  <th scope="col" className="numeric">
                    {t.checkpoints.date}
                  </th>
                  <th scope="col">
                    <span className="hidden-text">{t.common.actions}</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {shown.slice(0, most).map((one) => (
                  <CheckpointRow key={one.path} checkpoint={one} />
                ))}
              </tbody>
            </table>
          </Wide>
          {shown.length > most && (
            <Button kind="quiet" className="more" onClick={() => setMost(most + ROWS)}>
              {t.checkpoints.more(shown.length - most)}
            </Button>
          )}
        </Card>
      )}
      {shown.length > 0 && <Samples checkpoints={shown} />}
    </Page>
  );
}

function CheckpointRow({ checkpoint }: { checkpoint: Checkpoint }) {
  const { t, f } = useSpoken();
  const client = useQueryClient();
  const [deleting, setDeleting] = useState(false);
  const name = `${checkpoint.model_name}, ${checkpointName(checkpoint.path, t.common.epoch)}`;
  const params = { query: { checkpoint_path: checkpoint.path } };
  const refresh = () => Promise.all([keys.checkpoints, keys.voices].map((queryKey) => client.invalidateQueries({ queryKey })));
  const load = useAct(async () => {
    await ask(api.POST("/training/checkpoints/load", { params }));
    toast(t.checkpoints.loaded(name));
  });
  const promote = useAct(async () => {
    await ask(api.POST("/training/checkpoints/promote", { params }));
    await refresh();
    toast(t.checkpoints.promoted(name));
  });
  const remove = useAct(async () => {
    await ask(api.DELETE("/training/checkpoints", { params }));
    setDeleting(false);
    await refresh();
  });
  const pack = useAct(() => saveExport("/training/checkpoints/export", { checkpoint_path: checkpoint.path }));
  const figure = (value: number | null, digits: number) => (value === null ? "–" : f.number(value, digits));
  return (
    <tr>
      <td>
        <div className="row">
          {checkpoint.model_name}
          {checkpoint.current && <Badge tone="accent">{t.checkpoints.current}</Badge>}
          {checkpoint.best && <Badge tone="good">{t.checkpoints.best}</Badge>}
        </div>
        <ErrorNote error={load.error ?? promote.error ?? pack.error} />
      </td>
      <td className="numeric" data-label={t.train.epoch}>
        {f.number(checkpoint.epoch)}
      </td>
      <td className="numeric" data-label={t.train.loss}>
        {checkpoint.loss === null ? "–" : f.loss(checkpoint.loss)}
      </td>
      <td className="numeric" data-label={t.train.heldOut}>
        {checkpoint.eval_loss === null ? "–" : f.loss(checkpoint.eval_loss)}
      </td>
      <td className="numeric" data-label={t.ab.similarity}>
        {figure(checkpoint.similarity, 1)}
      </td>
      <td className="numeric" data-label={t.ab.mfcc}>
        {figure(checkpoint.mfcc_score, 1)}
      </td>
      <td className="numeric" data-label={t.checkpoints.date}>
        <span>{f.date(`${checkpoint.date.replace(" ", "T")}Z`)}</span>{" "}
        <span className="muted small">{f.bytes(checkpoint.size_mb * 1024 * 1024)}</span>
      </td>
      <td>
        <div className="row tight row-actions">
          <Button
            className="small"
            needs="inference"
            busy={load.busy}
            aria-label={`${t.checkpoints.load}: ${name}`}
            onClick={() => load.run()}
          >
            {t.checkpoints.load}
          </Button>
          <Button
            kind="quiet"
            className="small"
            needs="training"
            busy={promote.busy}
            aria-label={`${t.checkpoints.short.promote}: ${name}`}
            title={t.checkpoints.promote}
            onClick={() => promote.run()}
          >
            {t.checkpoints.short.promote}
          </Button>
          <Button
            kind="quiet"
            className="small"
            busy={pack.busy}
            aria-label={`${t.checkpoints.export}: ${name}`}
            title={t.checkpoints.export}
            onClick={() => pack.run()}
          >
            {t.checkpoints.short.export}
          </Button>
          <Button
            kind="quiet"
            className="small"
            needs="training"
            aria-label={`${t.common.delete}: ${name}`}
            title={t.common.delete}
            onClick={() => {
              remove.clear();
              setDeleting(true);
            }}
          >
            {t.common.delete}
          </Button>
        </div>
        <Dialog open={deleting} title={t.checkpoints.deleteTitle(name)} close={() => setDeleting(false)}>
          <p>{t.checkpoints.deleteWarning}</p>
          <ErrorNote error={remove.error} />
          <div className="actions">
            <Button kind="danger" icon="trash" busy={remove.busy} onClick={() => remove.run()}>
              {t.common.delete}
            </Button>
            <Button kind="quiet" onClick={() => setDeleting(false)}>
              {t.common.cancel}
            </Button>
          </div>
        </Dialog>
      </td>
    </tr>
  );
}
