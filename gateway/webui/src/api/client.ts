import createClient, { type Middleware } from "openapi-fetch";
import type { Problem as ProblemBody, paths } from "./schema";

/** What the gateway answered instead of a success: its sentence, its reason and everything beside them. */
export class Problem extends Error {
  readonly status: number;
  readonly reason: string;
  readonly body: Record<string, unknown>;

  constructor(status: number, body: Partial<ProblemBody> & Record<string, unknown>) {
    super(typeof body.detail === "string" ? body.detail : `HTTP ${status}`);
    this.status = status;
    this.reason = typeof body.reason === "string" ? body.reason : "UNKNOWN";
    this.body = body;
  }
}

/** Where the token is kept: for this tab, or on this device when the person wishes so. */
const TOKEN = "timbre.token";

export const token = {
  get: (): string | null => sessionStorage.getItem(TOKEN) ?? localStorage.getItem(TOKEN),
  set(value: string, remember: boolean): void {
    (remember ? localStorage : sessionStorage).setItem(TOKEN, value);
  },
  clear(): void {
    localStorage.removeItem(TOKEN);
    sessionStorage.removeItem(TOKEN);
  },
};

export function authorized(headers: HeadersInit = {}): Headers {
  const all = new Headers(headers);
  const value = token.get();
  if (value) all.set("Authorization", `Bearer ${value}`);
  return all;
}

const signing: Middleware = {
  onRequest({ request }) {
    for (const [name, value] of authorized()) request.headers.set(name, value);
    return request;
  },
};

export const api = createClient<paths>({ baseUrl: "/" });
api.use(signing);

/** Awaits a call and returns its body, or throws the `Problem` that the gateway answered with. */
export async function ask<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  if (!response.ok) throw new Problem(response.status, (error ?? {}) as Record<string, unknown>);
  return data as T;
}

/** The same for an answer that is no JSON. */
export async function fetchOk(input: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(input, { ...init, headers: authorized(init.headers) });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response;
}

/** Whether the server could not be reached at all, rather than refusing. */
export function unreachable(error: unknown): boolean {
  return error instanceof TypeError || (error instanceof Problem && error.status === 503);
}
