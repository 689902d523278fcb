import { signal } from "@preact/signals";

export interface Toast {
  id: number;
  text: string;
  isError: boolean;
}

const SHOWN_MS = 6000;

export const toasts = signal<readonly Toast[]>([]);
let count = 0;

/** Says for a moment what was done, or why it was not. */
export function say(text: string, { isError = false }: { isError?: boolean } = {}): void {
  const toast = { id: ++count, text, isError };
  toasts.value = [...toasts.value.slice(-3), toast];
  setTimeout(
    () => {
      dismiss(toast.id);
    },
    SHOWN_MS * (isError ? 2 : 1),
  );
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}
