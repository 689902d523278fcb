/** A piece of a line that looks the same throughout. */
export interface Span {
  text: string;
  /** Names of the classes it has, such as `ansi-fg-1`. */
  classes: readonly string[];
  /** For the 240 colours and more that have no class. */
  color?: string | undefined;
  background?: string | undefined;
}

interface Style {
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
  inverse: boolean;
  foreground: Color | undefined;
  background: Color | undefined;
}

/** One of the 16 that the theme has, or an exact one. */
type Color = number | string;

const PLAIN: Style = {
  ...{ bold: false, dim: false, italic: false, underline: false, inverse: false },
  ...{ foreground: undefined, background: undefined },
};
// Colours are told by ESC [ … m; other sequences move a cursor that a page does not have, and are left out.
// eslint-disable-next-line no-control-regex
const SEQUENCE = /\u001b(?:\[([0-9;:?]*)[ -/]*([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;
// eslint-disable-next-line no-control-regex
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f]/g;

/** A log's line as spans; whatever it holds, text stays text. */
export function parseAnsi(line: string): Span[] {
  const spans: Span[] = [];
  let style = PLAIN;
  let from = 0;
  const push = (text: string): void => {
    const visible = afterLastReturn(text).replace(INVISIBLE, "");
    if (visible !== "") spans.push(toSpan(visible, style));
  };
  for (const match of line.matchAll(SEQUENCE)) {
    push(line.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === "m") style = applyCodes(style, match[1] ?? "");
  }
  push(line.slice(from));
  return spans;
}

/** The line as a search sees it. */
export function stripAnsi(line: string): string {
  return afterLastReturn(line.replace(SEQUENCE, "")).replace(INVISIBLE, "");
}

/** A progress bar writes over itself; what it wrote last is what a terminal shows. */
function afterLastReturn(text: string): string {
  const trimmed = text.endsWith("\r") ? text.slice(0, -1) : text;
  return trimmed.slice(trimmed.lastIndexOf("\r") + 1);
}

function applyCodes(style: Style, text: string): Style {
  const codes = text === "" ? [0] : text.split(/[;:]/).map(Number);
  let next = style;
  for (let index = 0; index < codes.length; index++) {
    const code = codes[index] ?? 0;
    if (code === 38 || code === 48) {
      const [color, used] = extendedColor(codes.slice(index + 1));
      index += used;
      next = code === 38 ? { ...next, foreground: color } : { ...next, background: color };
    } else next = applyCode(next, code);
  }
  return next;
}

const SIMPLE: Readonly<Record<number, Partial<Style>>> = {
  0: PLAIN,
  1: { bold: true },
  2: { dim: true },
  3: { italic: true },
  4: { underline: true },
  7: { inverse: true },
  22: { bold: false, dim: false },
  23: { italic: false },
  24: { underline: false },
  27: { inverse: false },
  39: { foreground: undefined },
  49: { background: undefined },
};

function applyCode(style: Style, code: number): Style {
  const simple = SIMPLE[code];
  if (simple !== undefined) return { ...style, ...simple };
  if (code >= 30 && code <= 37) return { ...style, foreground: code - 30 };
  if (code >= 40 && code <= 47) return { ...style, background: code - 40 };
  if (code >= 90 && code <= 97) return { ...style, foreground: code - 82 };
  if (code >= 100 && code <= 107) return { ...style, background: code - 92 };
  return style;
}

/** What follows 38 or 48. @returns the colour, and how many codes said it */
function extendedColor([mode, ...rest]: readonly number[]): [Color | undefined, number] {
  if (mode === 2) return [toRgb(rest.slice(0, 3)), 4];
  if (mode !== 5) return [undefined, 1];
  return [indexedColor(rest[0] ?? 0), 2];
}

function indexedColor(index: number): Color {
  if (index < 16) return index;
  if (index >= 232) return toRgb(Array.from({ length: 3 }, () => 8 + 10 * (index - 232)));
  const cube = index - 16;
  const level = (step: number): number => (step === 0 ? 0 : 55 + 40 * step);
  return toRgb([level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)]);
}

function toRgb(parts: readonly number[]): string {
  const bytes = [0, 1, 2].map((index) => Math.min(255, Math.max(0, Math.trunc(parts[index] ?? 0) || 0)));
  return `rgb(${bytes.join(" ")})`;
}

function toSpan(text: string, style: Style): Span {
  const [foreground, background] = style.inverse
    ? [style.background ?? "var(--surface)", style.foreground ?? "var(--text)"]
    : [style.foreground, style.background];
  const flags = (["bold", "dim", "italic", "underline"] as const).filter((flag) => style[flag]);
  const classes = [
    ...flags.map((flag) => `ansi-${flag}`),
    ...(typeof foreground === "number" ? [`ansi-fg-${String(foreground)}`] : []),
    ...(typeof background === "number" ? [`ansi-bg-${String(background)}`] : []),
  ];
  return {
    text,
    classes,
    color: typeof foreground === "string" ? foreground : undefined,
    background: typeof background === "string" ? background : undefined,
  };
}
