import { Problem } from "../api/client";
import type { Job } from "../api/schema";
import { useSpoken } from "../i18n";

/**
 * What went wrong, in the page's language where the reason is known; the server's own sentence stays below it, since it
 * names what exactly was wrong.
 */
export function Said({ error }: { error: unknown }) {
  const { t } = useSpoken();
  if (error instanceof TypeError) return t.common.unreachable;
  const sentence = error instanceof Error ? error.message : String(error);
  const known = error instanceof Problem ? t.reasons[error.reason] : undefined;
  if (!known) return sentence;
  return (
    <>
      {known}
      <span className="server-sentence" lang="en">
        {sentence}
      </span>
    </>
  );
}

/** Why a job failed, as an answer of the server would say it; null when it did not. */
export function failureOf(job: Job): Problem | null {
  return job.error ? new Problem(200, { detail: job.error, reason: job.error_reason ?? "" }) : null;
}
