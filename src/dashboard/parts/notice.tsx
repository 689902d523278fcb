import type { ComponentChildren } from "preact";
import { Icon } from "./icon.js";

interface NoticeProps {
  kind?: "info" | "warning" | "error" | "good";
  children: ComponentChildren;
}

/** One sentence that a page has to say of itself. */
export function Notice({ kind = "info", children }: NoticeProps) {
  const icon = kind === "good" ? "check" : kind === "info" ? "info" : "alert";
  return (
    <div class={`notice notice-${kind}`} role={kind === "error" ? "alert" : undefined}>
      <Icon name={icon} />
      <div>{children}</div>
    </div>
  );
}

interface EmptyProps {
  title: string;
  children?: ComponentChildren;
}

/** A place where something will be, and how to get it there. */
export function Empty({ title, children }: EmptyProps) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** While something is asked for. */
export function Loading({ what }: { what: string }) {
  return (
    <p class="loading" role="status">
      <span class="spinner" />
      Loading {what} …
    </p>
  );
}
