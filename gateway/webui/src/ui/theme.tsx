import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";

export type Theme = "auto" | "light" | "dark";
const KEY = "timbre.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function kept(): Theme {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : "auto";
}

/** What the custom properties of the present theme come to. */
const colours = new Map<string, string>();
system.addEventListener("change", () => colours.clear());

function apply(theme: Theme): void {
  colours.clear();
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
apply(kept());

const Context = createContext<{ theme: Theme; dark: boolean; setTheme: (theme: Theme) => void }>({
  theme: "auto",
  dark: false,
  setTheme: () => {},
});

export function Themed({ children }: { children: ReactNode }) {
  const [theme, setTheme] = useState(kept);
  const [systemDark, setSystemDark] = useState(system.matches);
  useEffect(() => {
    const changed = () => setSystemDark(system.matches);
    system.addEventListener("change", changed);
    return () => system.removeEventListener("change", changed);
  }, []);
  const value = useMemo(() => {
    const change = (next: Theme) => {
      localStorage.setItem(KEY, next);
      apply(next);
      setTheme(next);
    };
    return { theme, dark: theme === "auto" ? systemDark : theme === "dark", setTheme: change };
  }, [theme, systemDark]);
  return <Context value={value}>{children}</Context>;
}

export const useTheme = () => useContext(Context);

/** What a custom property comes to in the present theme, for a canvas. */
export function colour(property: string): string {
  const kept = colours.get(property);
  if (kept) return kept;
  const probe = document.createElement("span");
  probe.style.color = `var(${property})`;
  document.body.append(probe);
  const computed = getComputedStyle(probe).color;
  probe.remove();
  colours.set(property, computed);
  return computed;
}
