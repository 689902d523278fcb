import type { Alert } from "../model/alerts.js";
import { Notice } from "./notice.js";

/** What somebody should know now. Nothing is shown when there is nothing. */
export function Alerts({ alerts }: { alerts: readonly Alert[] }) {
  if (alerts.length === 0) return null;
  return (
    <div class="alerts" role="region" aria-label="Alerts">
      {alerts.map(({ kind, text, href }) => (
        <Notice key={text} kind={kind === "info" ? "info" : kind === "error" ? "error" : "warning"}>
          {text} {href === undefined ? null : <a href={href}>Show</a>}
        </Notice>
      ))}
    </div>
  );
}
