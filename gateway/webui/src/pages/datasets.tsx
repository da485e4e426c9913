import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { usePolling } from "../api/live";
import { datasets } from "../api/queries";
import { useSpoken } from "../i18n";
import { bareName, datasetPath } from "../names";
import { Button, Empty, ErrorNote, Page, Skeleton, Wide } from "../ui/basics";
import { NewDataset } from "./voices";

/** All datasets, with their figures. */
export default function Datasets() {
  const { t, f } = useSpoken();
  const { data, error, isPending, refetch } = useQuery({ ...datasets, refetchInterval: usePolling() });
  const [asking, setAsking] = useState(false);
  const begin = (
    <Button kind="primary" icon="plus" needs="dataset:write" onClick={() => setAsking(true)}>
      {t.voices.begin}
    </Button>
  );
  return (
    <Page title={t.places.datasets} lead={t.dataset.listLead} actions={begin}>
      <ErrorNote error={error} again={() => refetch()} />
      <div className="card flush">
        {isPending && <Skeleton rows={4} />}
        {data && !data.datasets.length && (
          <Empty icon="dataset" title={t.voices.none}>
            {t.voices.noneHint}
          </Empty>
        )}
        {data && data.datasets.length > 0 && (
          <Wide label={t.places.datasets}>
            <table>
              <thead>
                <tr>
                  <th scope="col">{t.voices.dataset}</th>
                  <th scope="col" className="numeric">
                    {t.dataset.recordings}
                  </th>
                  <th scope="col" className="numeric">
                    {t.dataset.segments}
                  </th>
                  <th scope="col" className="numeric">
                    {t.voices.hours}
                  </th>
                  <th scope="col" className="numeric">
                    {t.dataset.transcribed}
                  </th>
                  <th scope="col" className="numeric">
                    {t.dataset.toCheck}
                  </th>
                </tr>
              </thead>
              <tbody>
                {data.datasets.map((one) => (
                  <tr key={one.folder}>
                    <td>
                      <Link href={datasetPath(one.folder)}>{bareName(one.folder)}</Link>
                    </td>
                    <td className="numeric">{f.number(one.sources)}</td>
                    <td className="numeric">{f.number(one.files)}</td>
                    <td className="numeric">{f.number(one.total_hours, 2)}</td>
                    <td className="numeric">{f.percent(one.transcribed_percent)}</td>
                    <td className="numeric">{f.number(one.flagged)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Wide>
        )}
      </div>
      <NewDataset open={asking} close={() => setAsking(false)} />
    </Page>
  );
}
