import { useQuery } from "@tanstack/react-query";
import { me } from "./queries";

/** Returns whether the caller's token allows what needs a scope. Until that is known, everything is: the gateway decides. */
export function useMay(): (scope: string) => boolean {
  const { data } = useQuery(me);
  return (scope) => !data || data.scopes.includes("admin") || data.scopes.includes(scope);
}
