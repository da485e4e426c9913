import { useQuery } from "@tanstack/react-query";
import { checkpoints as checkpointsQuery } from "../api/queries";
import { useSpoken } from "../i18n";
import { checkpointName } from "../names";
import { Field } from "./basics";

interface SelectProps {
  label: string;
  value: string;
  /** Whether the base model is among the choices. */
  base?: boolean;
  hint?: string;
  onChange: (checkpoint: string) => void;
}

/** A choice among all checkpoints, by voice, the newest first, each voice's current one marked. */
export function CheckpointSelect({ label, value, base = true, hint, onChange }: SelectProps) {
  const { t } = useSpoken();
  const { data } = useQuery(checkpointsQuery);
  const models = [...new Set(data?.map((one) => one.model_name))];
  const known = value === "base" || data?.some((one) => one.path === value);
  return (
    <Field label={label} hint={hint}>
      {(ids) => (
        <select {...ids} value={value} onChange={(event) => onChange(event.target.value)}>
          {base && <option value="base">{t.common.base}</option>}
          {!known && value && <option value={value}>{value}</option>}
          {models.map((model) => (
            <optgroup key={model} label={model}>
              {data
                ?.filter((one) => one.model_name === model)
                .map((one) => (
                  <option key={one.path} value={one.path}>
                    {model} · {checkpointName(one.path, t.common.epoch)}
                    {one.current ? ` · ${t.checkpoints.current}` : ""}
                  </option>
                ))}
            </optgroup>
          ))}
        </select>
      )}
    </Field>
  );
}
