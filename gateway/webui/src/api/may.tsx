import { createContext, useContext } from "react";
import type { Me } from "./schema";

export type Scope = "dataset:read" | "dataset:write" | "training" | "inference";

/** Who is here, and what their token allows. */
export const Caller = createContext<Me>({ auth: "off", subject: "anonymous", scopes: ["admin"] });

/** Returns whether the caller's token has one of the scopes that something needs. */
export function useMay(): (...scopes: Scope[]) => boolean {
  const { scopes: held } = useContext(Caller);
  return (...scopes) => held.includes("admin") || scopes.some((one) => held.includes(one));
}

/** What the places of the page need to be looked at: one of these. */
export const LOOK = {
  datasets: ["dataset:read", "dataset:write"],
  runs: ["training"],
  models: ["training", "inference"],
  speech: ["inference"],
  jobs: ["dataset:read", "dataset:write", "training"],
} as const satisfies Record<string, readonly Scope[]>;
