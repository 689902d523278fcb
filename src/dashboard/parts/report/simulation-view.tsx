import type { ReportDocument } from "../../../server/wire/reports.js";
import { simulationTable } from "../../model/report.js";
import { Card } from "../card.js";
import { FigureTableView } from "../figure-table.js";
import { CommandList } from "./command-list.js";

/** What simulated caches lose against 16 bits, token by token. */
export function SimulationView({ simulations }: { simulations: ReportDocument["simulations"] }) {
  return (
    <Card title="Simulated precisions">
      <FigureTableView table={simulationTable(simulations)} />
      <p class="muted">
        KL divergence: nats a token from the 16-bit cache's next-token distribution. Agreement: how often the most
        probable token is the same.
      </p>
      <CommandList of="simulated precisions" commands={simulations.map(({ command }) => command)} />
    </Card>
  );
}
