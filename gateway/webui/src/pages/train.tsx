import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef } from "react";
import { usePolling } from "../api/live";
import { job as jobQuery, runs as runsQuery } from "../api/queries";
import type { Run } from "../api/schema";
import { useSpoken } from "../i18n";
import { Card, Empty, ErrorNote, Page, Skeleton } from "../ui/basics";
import { focusOn } from "../ui/focus";
import { isActive, JobLine } from "../ui/job-line";
import { Log } from "../ui/log";
import { useParameters } from "../ui/parameters";
import { Curves } from "./train/curves";
import { TrainingForm } from "./train/form";
import { RunTable } from "./train/run-table";
import "./train/train.css";

const NONE: Run[] = [];

/** Training: what to ask for and what it would take, the runs there were, and how the present one goes. */
export default function Train() {
  const { t } = useSpoken();
  const [parameters, setParameters] = useParameters();
  const { data, error, isPending, refetch } = useQuery({ ...runsQuery(), refetchInterval: usePolling() });
  const all = data?.runs ?? NONE;
  const asked = parameters.get("runs") || all[0]?.job_id || "";
  const chosen = useMemo(() => asked.split(",").filter(Boolean), [asked]);
  // a run keeps its place, and with it its colour
  const shown = useMemo(
    () => chosen.map((id) => all.find((one) => one.job_id === id)).filter((one): one is Run => one !== undefined),
    [chosen, all],
  );
  const first = shown[0];
  const place = useRef<HTMLDivElement>(null);
  const fresh = useRef("");
  const started = (id: string) => {
    fresh.current = id;
    setParameters({ runs: id });
  };
  useEffect(() => {
    if (!first || first.job_id !== fresh.current) return;
    fresh.current = "";
    focusOn(place.current?.querySelector("h2"));
    scrollTo({ top: 0 }); // to where it now goes on
  }, [first]);
  const form = <TrainingForm key="form" runs={all} onStarted={started} />;
  const live = all.some((one) => one.state === "running");

  return (
    <Page title={t.places.train} lead={t.train.lead}>
      <div className="grid aside training">
        {!live && form}
        <div key="runs" className="stack" ref={place}>
          <ErrorNote error={error} again={() => refetch()} />
          {isPending && <Skeleton rows={2} height={180} />}
          {data && !all.length && (
            <Card>
              <Empty icon="train" title={t.train.none}>
                {t.train.noneHint}
              </Empty>
            </Card>
          )}
          {first && <Present run={first} />}
          {shown.length > 0 && <Curves runs={shown} />}
          {all.length > 0 && <RunTable runs={all} chosen={chosen} onChoose={(ids) => setParameters({ runs: ids.join(",") })} />}
          {first && (
            <Card title={t.train.log(first.model_name)}>
              <Log key={first.job_id} id={first.job_id} ended={first.state !== "running" && first.state !== "idle"} />
            </Card>
          )}
        </div>
        {live && form}
      </div>
    </Page>
  );
}

function Present({ run }: { run: Run }) {
  const { data } = useQuery({ ...jobQuery(run.job_id), refetchInterval: usePolling() });
  if (!data || (!isActive(data) && data.state !== "failed")) return null;
  return (
    <Card>
      <JobLine job={data} />
    </Card>
  );
}
