import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";
import { en, type Messages } from "./en";
import { pt } from "./pt";

export const LANGUAGES = { en: "English", pt: "Português" } as const;
export type Language = keyof typeof LANGUAGES;

const CATALOGUES: Record<Language, Messages> = { en, pt };
const LOCALES: Record<Language, string> = { en: "en-GB", pt: "pt-BR" };
const KEY = "timbre.language";

/** Numbers, times and sizes as the language writes them. */
export interface Format {
  number: (value: number, digits?: number) => string;
  loss: (value: number) => string;
  percent: (value: number, digits?: number) => string;
  date: (iso: string) => string;
  ago: (iso: string) => string;
  /** A length of time in words: `1 h 5 min`. */
  span: (seconds: number) => string;
  /** A length of audio: `0:09.3`. */
  clock: (seconds: number, digits?: number) => string;
  bytes: (count: number) => string;
}

interface Spoken {
  language: Language;
  t: Messages;
  f: Format;
  setLanguage: (language: Language) => void;
}

const Context = createContext<Spoken | null>(null);

function preferred(): Language {
  const kept = localStorage.getItem(KEY);
  if (kept === "en" || kept === "pt") return kept;
  return navigator.languages.some((one) => one.toLowerCase().startsWith("pt")) ? "pt" : "en";
}

function formats(language: Language): Format {
  const locale = LOCALES[language];
  const number = (value: number, digits = 0) =>
    value.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
  const dates = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
  return {
    number,
    loss: (value) => value.toLocaleString(locale, { minimumSignificantDigits: 4, maximumSignificantDigits: 4 }),
    percent: (value, digits = 0) => `${number(value, digits)}${language === "en" ? "" : " "}%`,
    date: (iso) => dates.format(new Date(iso)),
    ago: (iso) => {
      const seconds = (Date.parse(iso) - Date.now()) / 1000;
      const steps = [
        ["day", 86400],
        ["hour", 3600],
        ["minute", 60],
      ] as const;
      for (const [unit, size] of steps) {
        if (Math.abs(seconds) >= size) return relative.format(Math.round(seconds / size), unit);
      }
      return relative.format(Math.min(0, Math.round(seconds)), "second");
    },
    span: (seconds) => {
      const whole = Math.max(0, Math.round(seconds));
      const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
      if (days) return `${days} d ${hours} h`;
      if (hours) return `${hours} h ${minutes} min`;
      return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
    },
    clock: (seconds, digits = 0) => {
      // rounded before it is split, or 59.7 s would be 0:60
      const rounded = Math.round(seconds * 10 ** digits) / 10 ** digits;
      const minutes = Math.floor(rounded / 60);
      const rest = number(rounded - minutes * 60, digits);
      return `${minutes}:${rest.padStart(digits ? digits + 3 : 2, "0")}`;
    },
    bytes: (count) => {
      const units = ["B", "KiB", "MiB", "GiB", "TiB"];
      let size = count;
      let unit = 0;
      while (size >= 1024 && unit < units.length - 1) {
        size /= 1024;
        unit += 1;
      }
      return `${number(size, unit && size < 100 ? 1 : 0)} ${units[unit]}`;
    },
  };
}

export function Speak({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState(preferred);
  useEffect(() => {
    document.documentElement.lang = LOCALES[language];
  }, [language]);
  const spoken = useMemo(() => {
    const change = (next: Language) => {
      localStorage.setItem(KEY, next);
      setLanguage(next);
    };
    return { language, t: CATALOGUES[language], f: formats(language), setLanguage: change };
  }, [language]);
  return <Context value={spoken}>{children}</Context>;
}

export function useSpoken(): Spoken {
  const spoken = useContext(Context);
  if (!spoken) throw new Error("useSpoken outside Speak");
  return spoken;
}
