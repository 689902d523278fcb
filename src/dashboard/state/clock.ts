import { signal } from "@preact/signals";

/** Now, for what is shown as a time ago; once a second while somebody looks. */
export const now = signal(Date.now());

setInterval(() => {
  if (document.visibilityState === "visible") now.value = Date.now();
}, 1000);
