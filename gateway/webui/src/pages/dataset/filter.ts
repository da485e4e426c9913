import type { Segment } from "../../api/schema";

/** Figures of a segment that can be looked at, sorted by and cut to a range. */
export const FIGURES = ["duration", "confidence", "rate", "loudness"] as const;
export type Figure = (typeof FIGURES)[number];

export const figureOf: Record<Figure, (segment: Segment) => number | null> = {
  duration: (one) => one.duration_s,
  confidence: (one) => one.confidence,
  rate: (one) => one.characters_per_second,
  loudness: (one) => one.loudness,
};

/** Most characters of a text that the gateway takes. */
export const LONGEST = { transcript: 2000, normalised: 4000 } as const;

export type Range = readonly [low: number | null, high: number | null];

export const STATUSES = ["", "flagged", "kept", "excluded", "edited", "missing"] as const;
export type Status = (typeof STATUSES)[number];

export interface Filter {
  text: string;
  status: Status;
  flag: string;
  sort: "number" | Figure;
  down: boolean;
  ranges: Record<Figure, Range>;
}

/** The filter that an address says; what it does not say, or says wrongly, is left open. */
export function readFilter(parameters: URLSearchParams): Filter {
  const status = parameters.get("status") ?? "";
  const [, down, sort = ""] = /^(-?)(\w+)$/.exec(parameters.get("sort") ?? "") ?? [];
  return {
    text: parameters.get("text") ?? "",
    status: STATUSES.find((one) => one === status) ?? "",
    flag: parameters.get("flag") ?? "",
    sort: FIGURES.find((one) => one === sort) ?? "number",
    down: down === "-",
    ranges: Object.fromEntries(FIGURES.map((one) => [one, readRange(parameters.get(one))])) as Record<Figure, Range>,
  };
}

function readRange(text: string | null): Range {
  const [, low, high] = /^(-?[\d.]*)~(-?[\d.]*)$/.exec(text ?? "") ?? [];
  const number = (one: string | undefined) => (one && Number.isFinite(Number(one)) ? Number(one) : null);
  return [number(low), number(high)];
}

export function writeRange([low, high]: Range): string | null {
  return low === null && high === null ? null : `${low ?? ""}~${high ?? ""}`;
}

const BY_STATUS: Record<Status, (one: Segment) => boolean> = {
  "": () => true,
  flagged: (one) => one.flags.length > 0,
  kept: (one) => !one.excluded,
  excluded: (one) => one.excluded,
  edited: (one) => one.edited,
  missing: (one) => one.transcript === null,
};

/** Returns the segments that a filter lets through, in its order. */
export function filtered(segments: readonly Segment[], filter: Filter): Segment[] {
  const words = filter.text.toLocaleLowerCase();
  const bounded = FIGURES.filter((one) => filter.ranges[one].some((bound) => bound !== null));
  const found = segments.filter(
    (one) =>
      BY_STATUS[filter.status](one) &&
      (!filter.flag || one.flags.includes(filter.flag)) &&
      (!words || `${one.id} ${one.transcript ?? ""} ${one.normalised ?? ""}`.toLocaleLowerCase().includes(words)) &&
      bounded.every((figure) => within(figureOf[figure](one), filter.ranges[figure])),
  );
  if (filter.sort !== "number") {
    const value = figureOf[filter.sort];
    const sign = filter.down ? -1 : 1;
    // what has no figure comes last, whichever way
    found.sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === null || right === null) return left === right ? 0 : left === null ? 1 : -1;
      return sign * (left - right);
    });
  } else if (filter.down) found.reverse();
  return found;
}

function within(value: number | null, [low, high]: Range): boolean {
  return value !== null && (low === null || value >= low) && (high === null || value <= high);
}
