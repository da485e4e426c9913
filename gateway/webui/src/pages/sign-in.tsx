import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, ask, type Problem, token } from "../api/client";
import { me } from "../api/queries";
import { useSpoken } from "../i18n";
import { Button, ErrorNote, Field } from "../ui/basics";

/** Asks for a token. Whatever address was called stays: after signing in, it is shown. */
export function SignIn({ refusal }: { refusal: Problem | undefined }) {
  const { t } = useSpoken();
  const client = useQueryClient();
  const [value, setValue] = useState("");
  const [remember, setRemember] = useState(true);
  const [error, setError] = useState<unknown>(refusal);
  const [busy, setBusy] = useState(false);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    token.clear();
    token.set(value.trim(), remember);
    try {
      const caller = await ask(api.GET("/training/me"));
      client.removeQueries({ predicate: (query) => query.queryKey[0] !== "me" });
      client.setQueryData(me.queryKey, caller);
    } catch (failed) {
      token.clear();
      setError(failed);
    } finally {
      setBusy(false);
    }
  };

  return (
    <main className="sign-in">
      <form className="card" onSubmit={submit}>
        <div className="brand">
          <img src="/webui/icon.svg" alt="" />
          Timbre
        </div>
        <h1>{t.signIn.title}</h1>
        <p className="muted">{t.signIn.lead}</p>
        <Field label={t.signIn.token} hint={t.signIn.hint}>
          {(ids) => (
            <textarea
              {...ids}
              rows={4}
              className="mono"
              value={value}
              required
              autoComplete="off"
              spellCheck={false}
              onChange={(event) => setValue(event.target.value)}
            />
          )}
        </Field>
        <label className="check">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.target.checked)} />
          <span>{t.signIn.remember}</span>
        </label>
        <ErrorNote error={error} />
        <Button type="submit" kind="primary" busy={busy} disabled={!value.trim()}>
          {t.signIn.enter}
        </Button>
      </form>
    </main>
  );
}
