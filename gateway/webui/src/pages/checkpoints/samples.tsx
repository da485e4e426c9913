import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { api, ask } from "../../api/client";
import { history, keys } from "../../api/queries";
import type { Checkpoint } from "../../api/schema";
import { PlayButton } from "../../audio/playback";
import { useSpoken } from "../../i18n";
import { checkpointName } from "../../names";
import { Button, Card, ErrorNote, Field, Wide } from "../../ui/basics";
import { useStored } from "../../ui/stored";

/** Said the same in every run, so that one checkpoint can be held against another. */
const SENTENCES = [
  "Bom dia, esta é a minha voz.",
  "O trem das sete e meia chegou atrasado outra vez.",
  "Você já provou o café que a vizinha trouxe?",
];
const SEED = 1;
const SHOWN = 5;

/** Checkpoints side by side on the same sentences; what was spoken once stays in the history, and is found there again. */
export function Samples({ checkpoints }: { checkpoints: Checkpoint[] }) {
  const { t } = useSpoken();
  const client = useQueryClient();
  const [text, setText] = useStored("sentences", SENTENCES.join("\n"));
  const [saying, setSaying] = useState("");
  const spoken = useQuery(history("", 500));
  const lines = text.split("\n").map((one) => one.trim());
  const sentences = [...new Set(lines.filter(Boolean))].slice(0, 6);
  const columns = checkpoints.slice(0, SHOWN);
  const found = (checkpoint: string, sentence: string) =>
    spoken.data?.utterances.find((one) => one.checkpoint === checkpoint && one.text === sentence && one.seed === SEED);
  const say = useAct(async (wanted: [checkpoint: string, sentence: string][]) => {
    try {
      for (const [checkpoint, sentence] of wanted) {
        setSaying(`${checkpoint}|${sentence}`);
        await ask(
          api.POST("/training/inference/synthesize", {
            body: { checkpoint, text: sentence, temperature: 0.7, speed: 1, seed: SEED },
          }),
        );
        await client.invalidateQueries({ queryKey: keys.history });
      }
    } finally {
      setSaying("");
    }
  });
  const missing = columns.flatMap((one) =>
    sentences.filter((sentence) => !found(one.path, sentence)).map((sentence) => [one.path, sentence] as [string, string]),
  );
  return (
    <Card
      title={t.checkpoints.samples}
      actions={
        <Button icon="studio" needs="inference" busy={say.busy} disabled={!missing.length} onClick={() => say.run(missing)}>
          {t.checkpoints.sayMissing(missing.length)}
        </Button>
      }
    >
      <ErrorNote error={say.error ?? spoken.error} />
      <Wide label={t.checkpoints.samples}>
        <table className="samples">
          <thead>
            <tr>
              <th scope="col">{t.checkpoints.sentence}</th>
              {columns.map((one) => (
                <th scope="col" key={one.path}>
                  {one.model_name}
                  <br />
                  {checkpointName(one.path, t.common.epoch)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {sentences.map((sentence) => (
              <tr key={sentence}>
                <th scope="row">{sentence}</th>
                {columns.map((one) => {
                  const utterance = found(one.path, sentence);
                  const label = `${one.model_name}, ${checkpointName(one.path, t.common.epoch)}: ${sentence}`;
                  return (
                    <td key={one.path}>
                      {utterance ? (
                        <PlayButton url={utterance.audio_url} label={label} />
                      ) : (
                        <Button
                          compact
                          kind="quiet"
                          className="round"
                          icon="plus"
                          needs="inference"
                          busy={saying === `${one.path}|${sentence}`}
                          disabled={say.busy}
                          aria-label={`${t.checkpoints.say}: ${label}`}
                          onClick={() => say.run([[one.path, sentence]])}
                        >
                          {t.checkpoints.say}
                        </Button>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
      <details>
        <summary>{t.checkpoints.sentences}</summary>
        <Field label={t.checkpoints.sentencesLabel} hint={t.checkpoints.sentencesHint}>
          {(ids) => (
            <textarea {...ids} rows={4} maxLength={6000} value={text} onChange={(event) => setText(event.target.value)} />
          )}
        </Field>
      </details>
    </Card>
  );
}
