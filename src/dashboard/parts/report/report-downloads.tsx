import type { JobReport } from "../../../server/wire/reports.js";
import { download } from "../../api/download.js";

/** The report that is shown, as files. */
export function ReportDownloads({ report: { document, files } }: { report: JobReport }) {
  const kinds: [text: string, ending: string, type: string, content: () => string][] = [
    ["HTML", "html", "text/html", () => files.html],
    ["Markdown", "md", "text/markdown", () => files.markdown],
    ["JSON", "json", "application/json", () => `${JSON.stringify(document, undefined, 1)}\n`],
    ["CSV", "csv", "text/csv", () => files.csv],
  ];
  return (
    <div class="downloads" role="group" aria-label="Download the report">
      {kinds.map(([text, ending, type, content]) => (
        <button
          key={ending}
          type="button"
          title={`Download as ${text}`}
          onClick={() => {
            download(new Blob([content()], { type }), `kitty-kv-report.${ending}`);
          }}
        >
          {text}
        </button>
      ))}
    </div>
  );
}
