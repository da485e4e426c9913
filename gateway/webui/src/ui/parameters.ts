import { useCallback } from "react";
import { useLocation, useSearch } from "wouter";
import { withParameters } from "./stored";

/** The parameters of the address as state: they survive a reload, and can be sent to somebody else. */
export function useParameters(): [URLSearchParams, (changes: Record<string, string | null>) => void] {
  const search = useSearch();
  const [place, navigate] = useLocation();
  const change = useCallback(
    // what the address says now, not what was last shown: two changes may come at once
    (changes: Record<string, string | null>) =>
      navigate(`${place}${withParameters(location.search, changes)}`, { replace: true }),
    [place, navigate],
  );
  return [new URLSearchParams(search), change];
}
