import { useEffect, useState } from "preact/hooks";
import type { CheckedSpec } from "../../server/wire/jobs.js";
import { ApiError, call, messageOf } from "../api/client.js";

const PAUSE_MS = 250;

export interface SpecCheck {
  checked: CheckedSpec | undefined;
  error: string | undefined;
  /** The field that the error is of, such as `params.maxNewTokens`; none where it is of the whole. */
  path: string | undefined;
  isBusy: boolean;
}

const NOTHING: SpecCheck = { checked: undefined, error: undefined, path: undefined, isBusy: true };

/** Whether the server would take a spec, asked while it is typed; it checks exactly as it does when one is submitted. */
export function useCheckedSpec(input: { spec: unknown } | { yaml: string }): SpecCheck {
  const [check, setCheck] = useState(NOTHING);
  const text = JSON.stringify(input);
  useEffect(() => {
    const controller = new AbortController();
    setCheck((before) => ({ ...before, isBusy: true }));
    const timer = setTimeout(() => void ask(text, controller.signal).then(setCheck, ignoreAborted), PAUSE_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [text]);
  return check;
}

async function ask(text: string, signal: AbortSignal): Promise<SpecCheck> {
  try {
    const body = JSON.parse(text) as unknown;
    const checked = await call<CheckedSpec>("/api/jobs/check", { body, signal });
    return { checked, error: undefined, path: undefined, isBusy: false };
  } catch (error) {
    if (signal.aborted) throw error;
    const path = error instanceof ApiError ? error.details["path"] : undefined;
    const isPath = typeof path === "string" && path !== "";
    return { checked: undefined, error: messageOf(error), path: isPath ? path : undefined, isBusy: false };
  }
}

function ignoreAborted(): void {
  // The next check is on its way.
}
