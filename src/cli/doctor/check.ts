export interface Check {
  name: string;
  /** info: good to know, and nothing that exists so far needs it. */
  status: "ok" | "failed" | "info";
  found: string;
  /** What to do; every failed check has one. */
  remedy?: string;
}

export function ok(name: string, found: string): Check {
  return { name, status: "ok", found };
}

export function failed(name: string, found: string, remedy: string): Check {
  return { name, status: "failed", found, remedy };
}

export function info(name: string, found: string): Check {
  return { name, status: "info", found };
}
