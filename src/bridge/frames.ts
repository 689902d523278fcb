import { isUtf8 } from "node:buffer";

export const FRAME_LIMIT_BYTES = 16 * 1024 * 1024;

export type Frame =
  | { kind: "reply"; id: number; key: "string" | "error"; value: string }
  | { kind: "events"; events: readonly unknown[] }
  /** Not one of ours: what a shell profile or a launcher prints. */
  | { kind: "noise"; reason: string }
  /** Shaped like a frame, but not one that a worker may send. */
  | { kind: "forbidden"; reason: string };

/** Reads one line from the worker. What it returns is plain, checked data; nothing in it is acted on here. */
export function parseFrame(line: Buffer): Frame {
  if (!isUtf8(line)) return { kind: "noise", reason: `bytes that are not UTF-8 (${String(line.length)} of them)` };
  const text = line.toString("utf8");
  const value = parseObject(text);
  if (value === undefined) return { kind: "noise", reason: `a line that is no frame: ${excerpt(text)}` };
  if (Object.hasOwn(value, "c")) return parseChannelFrame(value, text);
  if (Object.hasOwn(value, "r")) return parseReply(value, text);
  return { kind: "noise", reason: `a line that is no frame: ${excerpt(text)}` };
}

function parseChannelFrame(value: Record<string, unknown>, text: string): Frame {
  if (value["c"] === "kitty" && Array.isArray(value["e"]) && !Object.hasOwn(value, "r")) {
    return { kind: "events", events: value["e"] };
  }
  if (value["c"] === "jsi") return { kind: "forbidden", reason: `a request for a JavaScript object: ${excerpt(text)}` };
  return { kind: "forbidden", reason: `a frame for an unknown channel: ${excerpt(text)}` };
}

function parseReply(value: Record<string, unknown>, text: string): Frame {
  const { r: id, key, val, sig } = value;
  if (!Number.isSafeInteger(id)) return { kind: "forbidden", reason: `a reply without a number: ${excerpt(text)}` };
  if (key === "string" && typeof val === "string") return { kind: "reply", id: id as number, key, value: val };
  if (key === "error" && typeof sig === "string") return { kind: "reply", id: id as number, key, value: sig };
  return { kind: "forbidden", reason: `a reply that is not a string: ${excerpt(text)}` };
}

function parseObject(text: string): Record<string, unknown> | undefined {
  // A frame opens with a brace; most noise is told apart without paying for an exception.
  if (!text.startsWith("{")) return undefined;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    // That it is not JSON is the answer, and the caller decides what it means.
    return undefined;
  }
}

function excerpt(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}
