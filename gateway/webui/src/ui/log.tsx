import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { api, ask } from "../api/client";
import { follow } from "../api/events";
import { remember } from "../api/live";
import type { Job } from "../api/schema";
import { useSpoken } from "../i18n";
import { ErrorNote } from "./basics";

const TAIL = 2000;
const POLL_MILLISECONDS = 3000;

interface LogLine {
  sequence: number;
  text: string;
}

/** The log of a job: its last lines at once, then every new one as it comes, or every few seconds while nothing comes by itself. */
function useLog(id: string, ended: boolean): { lines: LogLine[]; error: unknown } {
  const client = useQueryClient();
  const [lines, setLines] = useState<LogLine[]>([]);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let last = 0;
    let gone = false;
    let live = false;
    let stop = () => {};
    const read = async () => {
      const query = last ? { after: last } : { tail: TAIL };
      const log = await ask(api.GET("/training/jobs/{job_id}/log", { params: { path: { job_id: id }, query } }));
      if (gone || log.last_sequence <= last) return;
      const texts = log.logs ? log.logs.split("\n") : [];
      const first = log.last_sequence - texts.length + 1;
      add(texts.map((text, index) => ({ sequence: first + index, text })));
      last = log.last_sequence;
    };
    const add = (more: LogLine[]) =>
      setLines((all) => [...all.filter((one) => one.sequence < (more[0]?.sequence ?? 0)), ...more].slice(-TAIL));
    setLines([]);
    setError(null);
    const begin = () => {
      if (gone || ended) return;
      stop = follow({
        path: `/training/jobs/${id}/events`,
        after: String(last),
        connected: (now) => {
          live = now;
        },
        on: (event) => {
          if (event.name === "job") remember(client, JSON.parse(event.data) as Job);
          if (event.name !== "log") return;
          const line = JSON.parse(event.data) as LogLine;
          if (line.sequence <= last) return;
          last = line.sequence;
          add([line]);
        },
      });
    };
    read().then(begin, (failed) => {
      setError(failed);
      begin();
    });
    const timer = setInterval(() => {
      if (!live && !ended && !document.hidden)
        read().then(
          () => setError(null),
          () => {},
        );
    }, POLL_MILLISECONDS);
    return () => {
      gone = true;
      stop();
      clearInterval(timer);
    };
  }, [client, id, ended]);
  return { lines, error };
}

/** The last lines of a log, following its end, to be searched. */
export function Log({ id, ended }: { id: string; ended: boolean }) {
  const { t, f } = useSpoken();
  const { lines, error } = useLog(id, ended);
  const [search, setSearch] = useState("");
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  const wanted = search.toLocaleLowerCase();
  const shown = wanted ? lines.filter((one) => one.text.toLocaleLowerCase().includes(wanted)) : lines;
  const newest = shown.at(-1)?.sequence;
  // biome-ignore lint/correctness/useExhaustiveDependencies: at every new line
  useLayoutEffect(() => {
    if (box.current && atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [newest, wanted]);
  return (
    <div className="stack">
      <div className="row tight">
        <input
          type="search"
          aria-label={t.jobs.searchLog}
          placeholder={t.jobs.searchLog}
          value={search}
          onChange={(event) => setSearch(event.target.value)}
        />
        <span className="muted small numeric nowrap" role="status">
          {t.jobs.lines(f.number(shown.length))}
        </span>
      </div>
      <ErrorNote error={error} />
      <pre
        ref={box}
        className="log"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
        tabIndex={0}
        role="log"
        aria-label={t.jobs.log}
        aria-live="off"
        onScroll={(event) => {
          const { scrollTop, clientHeight, scrollHeight } = event.currentTarget;
          atEnd.current = scrollTop + clientHeight > scrollHeight - 24;
        }}
      >
        {shown.length ? (
          shown.map((one) => <LogText key={one.sequence} text={one.text} wanted={wanted} />)
        ) : (
          <span className="muted">{t.jobs.noLines}</span>
        )}
      </pre>
    </div>
  );
}

function LogText({ text, wanted }: { text: string; wanted: string }) {
  const at = wanted ? text.toLocaleLowerCase().indexOf(wanted) : -1;
  if (at < 0) return <>{`${text}\n`}</>;
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + wanted.length)}</mark>
      {`${text.slice(at + wanted.length)}\n`}
    </>
  );
}
