import { Problem } from "../api/client";
import type { Job } from "../api/schema";
import { useSpoken } from "../i18n";
import type { Messages } from "../i18n/en";

/**
 * What went wrong, in the page's language where the reason is known; the server's own sentence stays below it, since it
 * names what exactly was wrong.
 */
export function Said({ error }: { error: unknown }) {
  const { t } = useSpoken();
  const known = inWords(error, t);
  const sentence = error instanceof Problem ? error.message : known;
  return (
    <>
      {known}
      {sentence !== known && (
        <span className="server-sentence" lang="en">
          {sentence}
        </span>
      )}
    </>
  );
}

/** The same without the server's sentence, for where there is room for one only. */
export function inWords(error: unknown, t: Messages): string {
  if (error instanceof TypeError) return t.common.unreachable;
  if (error instanceof Problem) return t.reasons[error.reason] ?? error.message;
  return error instanceof Error ? error.message : String(error);
}

/** Why a job failed, as an answer of the server would say it; null when it did not. */
export function failureOf(job: Job): Problem | null {
  return job.error ? new Problem(200, { detail: job.error, reason: job.error_reason ?? "" }) : null;
}
