import { type ButtonHTMLAttributes, type CSSProperties, type ReactNode, useEffect, useId, useRef } from "react";
import { Link } from "wouter";
import { Problem } from "../api/client";
import { type Scope, useMay } from "../api/may";
import { useSpoken } from "../i18n";
import { Icon, type IconName } from "./icons";
import { Said } from "./said";

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: "primary" | "plain" | "quiet" | "danger";
  icon?: IconName;
  /** Shows only the icon; `children` is its name. */
  compact?: boolean;
  busy?: boolean;
  /** The scope without which the button is off. */
  needs?: Scope;
}

export function Button({ kind = "plain", icon, compact, busy, needs, children, disabled, title, ...rest }: ButtonProps) {
  const may = useMay();
  const { t } = useSpoken();
  const refused = needs !== undefined && !may(needs);
  const name = compact && typeof children === "string" ? children : undefined;
  return (
    <button
      type="button"
      {...rest}
      className={`button ${kind}${compact ? " compact" : ""} ${rest.className ?? ""}`}
      disabled={disabled || busy || refused}
      aria-busy={busy || undefined}
      aria-label={rest["aria-label"] ?? name}
      title={refused ? t.may.missing(needs) : (title ?? name)}
    >
      {busy ? <span className="spinner" aria-hidden="true" /> : icon && <Icon name={icon} />}
      {!compact && children}
    </button>
  );
}

export function Page({
  title,
  lead,
  actions,
  children,
  wide = false,
}: {
  title: ReactNode;
  lead?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  wide?: boolean;
}) {
  return (
    <div className={wide ? "page wide" : "page"}>
      <header className="page-head">
        <div>
          <h1>{title}</h1>
          {lead && <p className="lead">{lead}</p>}
        </div>
        {actions && <div className="actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

export function Card({
  title,
  actions,
  children,
  className = "",
}: {
  title?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
}) {
  return (
    <section className={`card ${className}`}>
      {(title || actions) && (
        <header className="card-head">
          {title && <h2 tabIndex={-1}>{title}</h2>}
          {actions && <div className="actions">{actions}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/** What is not there yet, and what to do about it. */
export function Empty({
  icon,
  title,
  children,
  action,
}: {
  icon: IconName;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="empty">
      <span className="empty-icon">
        <Icon name={icon} />
      </span>
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export function Skeleton({ rows = 3, height }: { rows?: number; height?: number }) {
  const { t } = useSpoken();
  return (
    <div className="skeletons" role="status" aria-label={t.common.loading}>
      {Array.from({ length: rows }, (_, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
        <div key={index} className="skeleton" style={height ? { height } : undefined} />
      ))}
    </div>
  );
}

/** What went wrong, in place, with the way to the job that stands in the way, and to another try. */
export function ErrorNote({ error, again }: { error: unknown; again?: () => void }) {
  const { t } = useSpoken();
  if (!error) return null;
  const jobId = error instanceof Problem && typeof error.body.job_id === "string" ? error.body.job_id : null;
  return (
    <div className="note bad" role="alert">
      <Icon name="warn" />
      <span>
        <Said error={error} />
      </span>
      {jobId && <Link href={`/jobs/${jobId}`}>{t.jobInTheWay}</Link>}
      {again && (
        <Button kind="quiet" icon="retry" onClick={again}>
          {t.common.again}
        </Button>
      )}
    </div>
  );
}

export function Note({ children, kind = "" }: { children: ReactNode; kind?: "" | "good" | "warn" }) {
  return (
    <div className={`note ${kind}`} role="status">
      {children}
    </div>
  );
}

export function Progress({ value, label }: { value: number; label: string }) {
  const shown = Math.max(0, Math.min(100, value));
  return (
    <div
      className="progress"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(shown)}
    >
      <div style={{ transform: `scaleX(${shown / 100})` }} />
    </div>
  );
}

export function Badge({
  tone = "",
  children,
  title,
}: {
  tone?: "" | "good" | "bad" | "warn" | "live" | "accent";
  children: ReactNode;
  title?: string;
}) {
  return (
    <span className={`badge ${tone}`} title={title}>
      {children}
    </span>
  );
}

type State = "queued" | "running" | "succeeded" | "failed" | "stopped" | "completed" | "idle";
const TONES: Record<State, "" | "good" | "bad" | "warn" | "live"> = {
  queued: "",
  running: "live",
  succeeded: "good",
  completed: "good",
  failed: "bad",
  stopped: "warn",
  idle: "",
};

export function StateBadge({ state }: { state: State }) {
  const { t } = useSpoken();
  return <Badge tone={TONES[state]}>{t.state[state]}</Badge>;
}

export function Figure({ label, children, hint }: { label: string; children: ReactNode; hint?: string }) {
  return (
    <div className="figure" title={hint}>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  );
}

export function Field({
  label,
  hint,
  error,
  children,
}: {
  label: string;
  hint?: ReactNode;
  error?: string | undefined;
  children: (ids: { id: string; "aria-describedby": string; "aria-invalid": boolean }) => ReactNode;
}) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children({ id, "aria-describedby": `${id}-hint`, "aria-invalid": Boolean(error) })}
      <p id={`${id}-hint`} className={error ? "hint bad" : "hint"}>
        {error ?? hint}
      </p>
    </div>
  );
}

interface KnobProps {
  label: string;
  hint?: ReactNode;
  unit?: string;
  value: number;
  min: number;
  max: number;
  step: number;
  /** The slider moves over powers of ten. */
  logarithmic?: boolean;
  disabled?: boolean;
  error?: string | undefined;
  onChange: (value: number) => void;
}

/** A number within a range: a slider, and the number itself to type. */
export function Knob({ label, hint, unit, value, min, max, step, logarithmic, disabled, error, onChange }: KnobProps) {
  const id = useId();
  const scale = logarithmic ? Math.log10 : (one: number) => one;
  const back = logarithmic ? (one: number) => Number((10 ** one).toPrecision(2)) : (one: number) => one;
  const shown = scale(Number.isFinite(value) ? value : min);
  const share = Math.min(1, Math.max(0, (shown - scale(min)) / (scale(max) - scale(min))));
  return (
    <div className="knob">
      <div className="knob-head">
        <label htmlFor={id}>{label}</label>
        <span className="knob-value">
          <input
            id={id}
            type="number"
            inputMode="decimal"
            value={Number.isFinite(value) ? value : ""}
            min={min}
            max={max}
            step={Number.isInteger(step) ? 1 : "any"}
            disabled={disabled}
            aria-describedby={`${id}-hint`}
            aria-invalid={Boolean(error)}
            onChange={(event) => onChange(event.target.valueAsNumber)}
          />
          {unit && <span className="unit">{unit}</span>}
        </span>
      </div>
      <input
        type="range"
        tabIndex={-1}
        aria-hidden="true"
        style={{ "--share": `${100 * share}%` } as CSSProperties}
        value={shown}
        min={scale(min)}
        max={scale(max)}
        step={logarithmic ? 0.01 : step}
        disabled={disabled}
        onChange={(event) => onChange(Math.min(max, Math.max(min, back(event.target.valueAsNumber))))}
      />
      <p id={`${id}-hint`} className={error ? "hint bad" : "hint"}>
        {error ?? hint}
      </p>
    </div>
  );
}

interface DialogProps {
  open: boolean;
  title: string;
  close: () => void;
  children: ReactNode;
}

/** A modal window; Escape closes it, and the browser keeps the focus inside. */
export function Dialog({ open, title, close, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  const { t } = useSpoken();
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={close}>
      {open && (
        <>
          <header className="card-head">
            <h2 id={id}>{title}</h2>
            <Button kind="quiet" icon="close" compact onClick={close}>
              {t.common.close}
            </Button>
          </header>
          {children}
        </>
      )}
    </dialog>
  );
}

/** Something wider than a phone: it scrolls by itself, by keyboard too, and says what it is. */
export function Wide({ label, children }: { label: string; children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
    <section className="table-wrap" tabIndex={0} aria-label={label}>
      {children}
    </section>
  );
}
