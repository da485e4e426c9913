import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useMemo, useRef, useState } from "react";
import { api, ask, Problem, unreachable } from "../../api/client";
import { keys, partial, segments as segmentsQuery } from "../../api/queries";
import type { Segment, SegmentChanged } from "../../api/schema";
import { useSpoken } from "../../i18n";
import { inWords } from "../../ui/said";
import { toast } from "../../ui/toasts";
import { useUnsaved } from "../../ui/unsaved";

const RETRY_MILLISECONDS = 2000;

export interface Change {
  transcript?: string;
  normalised?: string;
  excluded?: boolean;
}

export interface Conflict {
  mine: Change;
  theirs: Segment;
}

interface Step {
  ids: string[];
  /** What each was before. */
  before: Change[];
  /** What the only one is after it, as the server says once it has answered. */
  after: Change;
}

export interface Edits {
  conflicts: ReadonlyMap<string, Conflict>;
  /** With what was `seen` when somebody began to write: if that has been changed since, both are shown. */
  edit: (segment: Segment, change: Change, seen?: Change) => void;
  excludeAll: (segments: Segment[], excluded: boolean) => void;
  /** Takes the last step back; returns the segment that it was about. */
  undo: () => string | undefined;
  canUndo: boolean;
  /** Ends a conflict: with one's own words, or with what is there. */
  settle: (id: string, mine: boolean) => void;
}

/**
 * Edits of segments: shown at once, sent one after the other for each segment, undone where the server refuses.
 * The server is told which version was seen; when there is another one by now, both are shown.
 */
export function useEdits(folder: string): Edits {
  const client = useQueryClient();
  const { t } = useSpoken();
  const key = segmentsQuery(folder).queryKey;
  const [conflicts, setConflicts] = useState<ReadonlyMap<string, Conflict>>(new Map());
  const [steps, setSteps] = useState<readonly Step[]>([]);
  const sending = useRef(new Map<string, Promise<void>>());
  // the versions that came of edits made here: the server writes a normalised text anew with its transcript
  const own = useRef(new Map<string, Segment["revision"]>());
  const keyed = useRef(key);
  keyed.current = key;

  const replace = useCallback(
    (id: string, change: (now: Segment) => Segment) => {
      client.setQueryData<Segment[]>(keyed.current, (all) => all?.map((one) => (one.id === id ? change(one) : one)));
    },
    [client],
  );
  const current = useCallback(
    (id: string) => client.getQueryData<Segment[]>(keyed.current)?.find((one) => one.id === id),
    [client],
  );

  const send = useCallback(
    async (id: string, change: Change, before: Segment, step?: Step) => {
      const forget = () => setSteps((all) => all.filter((one) => one !== step));
      const params = { path: { id }, query: { folder } };
      for (let attempt = 0; ; attempt++) {
        const revision = current(id)?.revision ?? before.revision;
        try {
          const now = await ask(api.PATCH("/training/dataset/segments/{id}", { params, body: { ...change, revision } }));
          replace(id, () => now);
          own.current.set(id, now.revision);
          if (step) step.after = inverse(now, change);
          client.invalidateQueries({ queryKey: keys.datasets });
          return;
        } catch (error) {
          // a job that writes the same dataset has it for a moment, which is no conflict of words
          const held = error instanceof Problem && (error.status === 503 || (error.status === 409 && !error.body.segment));
          if (held || unreachable(error)) {
            // it stays as it is shown, and is sent again until it arrives
            if (attempt === 0 && !held) toast(t.review.sentLater, { bad: true });
            await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
            continue;
          }
          if (error instanceof Problem && error.status === 409 && error.body.segment) {
            const theirs = (error.body as unknown as SegmentChanged).segment;
            replace(id, () => theirs);
            forget();
            // one that arrived although its answer did not is no conflict
            if (!says(theirs, change)) setConflicts((all) => new Map(all).set(id, { mine: change, theirs }));
            return;
          }
          replace(id, (now) => ({ ...before, revision: now.revision }));
          forget();
          toast(inWords(error, t), { bad: true });
          return;
        }
      }
    },
    [client, current, folder, replace, t],
  );

  const apply = useCallback(
    (segment: Segment, change: Change, step?: Step) => {
      // what is read meanwhile must not put the old text back; a list that is not complete yet is read to its end, and once more
      const whole = !partial.has(folder);
      if (whole) client.cancelQueries({ queryKey: keyed.current });
      replace(segment.id, (now) => ({
        ...now,
        ...change,
        edited: now.edited || change.transcript !== undefined || change.normalised !== undefined,
      }));
      const earlier = sending.current.get(segment.id) ?? Promise.resolve();
      const mine = earlier.then(() => send(segment.id, change, segment, step));
      sending.current.set(segment.id, mine);
      mine.finally(() => {
        if (!whole) client.invalidateQueries({ queryKey: keyed.current });
        if (sending.current.get(segment.id) === mine) sending.current.delete(segment.id);
      });
    },
    [client, folder, replace, send],
  );

  const edit = useCallback(
    (segment: Segment, change: Change, seen: Change = {}) => {
      const theirs = current(segment.id);
      const ours = sending.current.has(segment.id) || own.current.get(segment.id) === theirs?.revision;
      if (theirs && !ours && !says(theirs, seen) && !says(theirs, change)) {
        setConflicts((all) => new Map(all).set(segment.id, { mine: change, theirs }));
        return;
      }
      const step: Step = { ids: [segment.id], before: [inverse(segment, change)], after: change };
      setSteps((all) => [...all, step]);
      apply(segment, change, step);
    },
    [apply, current],
  );

  const batch = useCallback(
    async (ids: string[], excluded: boolean) => {
      const chosen = new Set(ids);
      if (!partial.has(folder)) client.cancelQueries({ queryKey: keyed.current });
      client.setQueryData<Segment[]>(keyed.current, (all) =>
        all?.map((one) => (chosen.has(one.id) ? { ...one, excluded } : one)),
      );
      try {
        await ask(api.POST("/training/dataset/segments/batch", { params: { query: { folder } }, body: { ids, excluded } }));
      } catch (error) {
        toast(inWords(error, t), { bad: true });
      }
      client.invalidateQueries({ queryKey: keyed.current });
      client.invalidateQueries({ queryKey: keys.datasets });
    },
    [client, folder, t],
  );

  const excludeAll = useCallback(
    (segments: Segment[], excluded: boolean) => {
      const changing = segments.filter((one) => one.excluded !== excluded);
      if (!changing.length) return;
      const ids = changing.map((one) => one.id);
      setSteps((all) => [...all, { ids, before: changing.map(() => ({ excluded: !excluded })), after: { excluded } }]);
      batch(ids, excluded);
    },
    [batch],
  );

  const latest = useRef(steps);
  latest.current = steps;
  const undo = useCallback(() => {
    const step = latest.current.at(-1);
    if (!step) return undefined;
    setSteps((all) => all.slice(0, -1));
    if (step.ids.length > 1) {
      batch(step.ids, step.before[0]?.excluded ?? false);
      return undefined;
    }
    const [id, before] = [step.ids[0], step.before[0]];
    const segment = id === undefined ? undefined : current(id);
    if (!segment || !before || says(segment, before)) return id;
    // what somebody else wrote over it is not what is to be taken back; one's own edits of both texts may overtake each other
    const { transcript } = step.after;
    const mine = own.current.get(segment.id) === segment.revision && transcript !== undefined;
    if (sending.current.has(segment.id) || says(segment, mine ? { transcript } : step.after)) apply(segment, before);
    else setConflicts((all) => new Map(all).set(segment.id, { mine: before, theirs: segment }));
    return id;
  }, [apply, batch, current]);

  const settle = useCallback(
    (id: string, mine: boolean) => {
      const conflict = conflicts.get(id);
      setConflicts((all) => {
        const rest = new Map(all);
        rest.delete(id);
        return rest;
      });
      const segment = current(id);
      if (mine && conflict && segment) apply(segment, conflict.mine);
    },
    [apply, conflicts, current],
  );

  useUnsaved(() => sending.current.size > 0);

  return useMemo(
    () => ({ conflicts, edit, excludeAll, undo, canUndo: steps.length > 0, settle }),
    [conflicts, edit, excludeAll, undo, steps.length, settle],
  );
}

/** What a segment says where a change is made, so that it can be put back; the normalised text belongs to the transcript it was made from. */
function inverse(segment: Segment, change: Change): Change {
  const before: Change = {};
  if (change.excluded !== undefined) before.excluded = segment.excluded;
  if (change.transcript !== undefined) before.transcript = segment.transcript ?? "";
  if (change.transcript !== undefined || change.normalised !== undefined) before.normalised = segment.normalised ?? "";
  return before;
}

function says(segment: Segment, change: Change): boolean {
  return (Object.keys(change) as (keyof Change)[]).every((field) => (segment[field] ?? "") === change[field]);
}
