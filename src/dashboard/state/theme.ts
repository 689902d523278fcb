import { signal } from "@preact/signals";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];
const KEY = "kitty-kv.theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

export const theme = signal<Theme>(read());
/** What is shown; charts take their colours from it. */
export const isDark = signal(false);

export function setTheme(value: Theme): void {
  localStorage.setItem(KEY, value);
  theme.value = value;
  show();
}

export function followSystem(): void {
  systemIsDark.addEventListener("change", show);
  show();
}

function show(): void {
  isDark.value = theme.value === "system" ? systemIsDark.matches : theme.value === "dark";
  document.documentElement.dataset["theme"] = isDark.value ? "dark" : "light";
}

function read(): Theme {
  const stored = localStorage.getItem(KEY);
  return THEMES.find((name) => name === stored) ?? "system";
}
