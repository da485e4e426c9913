import { useQuery } from "@tanstack/react-query";
import { Suspense, useState } from "react";
import { Link, useLocation, useParams } from "wouter";
import { useAct } from "../api/act";
import { api, ask } from "../api/client";
import { usePolling } from "../api/live";
import { useMay } from "../api/may";
import { datasets } from "../api/queries";
import { useSpoken } from "../i18n";
import { bareName, datasetPath, folderOf, nameIn } from "../names";
import { Button, Dialog, ErrorNote, Figure, Note, Page, Skeleton } from "../ui/basics";
import { lazily } from "../ui/lazily";
import { Nowhere } from "../ui/nowhere";
import { saveExport } from "../ui/save";
import { Recordings } from "./dataset/recordings";

const Segmenting = lazily(() => import("./dataset/segmenting"));
const Review = lazily(() => import("./dataset/review"));

const PARTS = [
  { name: "recordings", path: "" },
  { name: "segmenting", path: "segment" },
  { name: "review", path: "review" },
] as const;

/** One dataset: its recordings, how they are cut, and the review of what came of it. */
export default function Dataset() {
  const { name: address = "", part = "" } = useParams<{ name: string; part?: string }>();
  const name = nameIn(address);
  return name === null ? <Nowhere /> : <Parts folder={folderOf(name)} part={part} />;
}

function Parts({ folder, part }: { folder: string; part: string }) {
  const { t, f } = useSpoken();
  const may = useMay();
  const { data, error, refetch } = useQuery({ ...datasets, refetchInterval: usePolling() });
  const stats = data?.datasets.find((one) => one.folder === folder);
  const [, navigate] = useLocation();
  const [deleting, setDeleting] = useState(false);
  const remove = useAct(() => ask(api.DELETE("/training/datasets", { params: { query: { folder } } })));
  const pack = useAct(() => saveExport("/training/dataset/export", { folder }));

  return (
    <Page
      wide
      title={bareName(folder)}
      actions={
        <>
          <Button icon="download" disabled={!stats?.files} busy={pack.busy} onClick={() => pack.run()}>
            {t.dataset.export}
          </Button>
          <Button kind="danger" icon="trash" compact needs="dataset:write" disabled={!stats} onClick={() => setDeleting(true)}>
            {t.dataset.delete}
          </Button>
        </>
      }
    >
      <ErrorNote error={error} again={() => refetch()} />
      <ErrorNote error={pack.error} />
      {!may("dataset:write") && <Note kind="warn">{t.may.missing("dataset:write")}</Note>}
      <dl className="figures">
        <Figure label={t.dataset.recordings}>{f.number(stats?.sources ?? 0)}</Figure>
        <Figure label={t.dataset.segments}>{f.number(stats?.files ?? 0)}</Figure>
        <Figure label={t.voices.hours}>{f.number(stats?.total_hours ?? 0, 2)}</Figure>
        <Figure label={t.dataset.transcribed}>{f.percent(stats?.transcribed_percent ?? 0)}</Figure>
        <Figure label={t.dataset.toCheck}>{f.number(stats?.flagged ?? 0)}</Figure>
        <Figure label={t.dataset.excluded}>{f.number(stats?.excluded ?? 0)}</Figure>
      </dl>
      <nav className="tabs" aria-label={t.dataset.parts}>
        {PARTS.map((one) => (
          <Link
            key={one.name}
            href={`${datasetPath(folder)}${one.path && `/${one.path}`}`}
            aria-current={one.path === part ? "page" : undefined}
          >
            {t.dataset.tabs[one.name]}
          </Link>
        ))}
      </nav>
      <Suspense fallback={<Skeleton rows={4} height={80} />}>
        {part === "segment" ? (
          <Segmenting folder={folder} />
        ) : part === "review" ? (
          <Review folder={folder} />
        ) : (
          <Recordings folder={folder} />
        )}
      </Suspense>
      <Dialog open={deleting} title={t.dataset.deleteTitle(bareName(folder))} close={() => setDeleting(false)}>
        <p>{t.dataset.deleteWarning}</p>
        <ErrorNote error={remove.error} />
        <div className="actions">
          <Button
            kind="danger"
            icon="trash"
            busy={remove.busy}
            onClick={async () => {
              if (await remove.run()) {
                await refetch();
                navigate("/datasets");
              }
            }}
          >
            {t.dataset.delete}
          </Button>
          <Button kind="quiet" onClick={() => setDeleting(false)}>
            {t.common.cancel}
          </Button>
        </div>
      </Dialog>
    </Page>
  );
}
