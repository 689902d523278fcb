import { createRequire } from "node:module";
import { dirname } from "node:path";

/** What pythonia's Bridge asks of a channel. */
export interface PythoniaCom {
  register(eventId: string, callback: (message: unknown) => void): void;
  write(message: object, callback?: (reply: PythoniaReply) => unknown): void;
  writeRaw(payload: string, id: number, callback: (reply: PythoniaReply) => unknown): void;
}

export interface PythoniaReply {
  r: number;
  key: "string";
  val: string;
  sig?: unknown;
}

/** The parts of pythonia's Bridge that we use; it ships no types for them. */
export interface PythoniaBridge {
  readonly jsi: { m: Record<string, unknown> };
  call(
    ffid: number,
    stack: readonly string[],
    args: readonly string[],
    kwargs: Readonly<Record<string, never>>,
    isSet: boolean,
    timeoutMs: number,
  ): Promise<unknown>;
  end(): void;
}

interface PythoniaModule {
  Bridge: new (com: PythoniaCom) => PythoniaBridge;
}

const require = createRequire(import.meta.url);
const BRIDGE_FILE = "pythonia/src/pythonia/Bridge.js";

/** The folder of pythonia's Python half (Bridge.py, proxy.py), which the worker puts on its path. */
export function pythoniaDir(): string {
  return dirname(require.resolve(BRIDGE_FILE));
}

/**
 * A pythonia Bridge over `com` that has no JavaScript object to give away.
 * Its own main file is never loaded: that one starts a process.
 */
export function createPythoniaBridge(com: PythoniaCom): PythoniaBridge {
  const bridge = new (loadBridge().Bridge)(com);
  // Stock, `m[0]` holds `require` and `globalThis`, which is the whole host process.
  bridge.jsi.m = Object.freeze(Object.create(null) as Record<string, unknown>);
  return bridge;
}

function loadBridge(): PythoniaModule {
  // With DEBUG set pythonia prints every call, prompts included, to stdout; it looks once, when it is loaded.
  const { DEBUG } = process.env;
  delete process.env["DEBUG"];
  try {
    return require(BRIDGE_FILE) as PythoniaModule;
  } finally {
    if (DEBUG !== undefined) process.env["DEBUG"] = DEBUG;
  }
}
