import type { ReportDocument } from "../../../server/wire/reports.js";
import { flatten, readFigures, type Scalar } from "../../model/figures.js";
import { formatNumber } from "../../model/format.js";
import { textOf } from "../../model/report.js";
import { Card } from "../card.js";
import { FigureTableView } from "../figure-table.js";
import { CommandList } from "./command-list.js";
import { Conditions } from "./conditions.js";

const NAMES: readonly [key: string, name: string][] = [
  ["klDivergence", "KL from 16 bits, nats a token"],
  ["hardware", "Hardware"],
  ["dtype", "Computed in"],
  ["text", "Text"],
  ["sequences", "Sequences"],
  ["length", "Tokens of each"],
];

interface SensitivityViewProps {
  name: string;
  document: ReportDocument["sensitivities"][number];
}

/** What carries a cache's error: layers, heads, channels. */
export function SensitivityView({ name, document }: SensitivityViewProps) {
  const flat: Record<string, Scalar> = {};
  flatten("", { ...document, sensitivity: null }, flat);
  const values = NAMES.map(([key, name]): [string, string] => {
    const value = flat[key];
    return [name, typeof value === "number" ? formatNumber(value) : textOf(value)];
  });
  return (
    <Card title={`What carries the error of ${name}`}>
      {readFigures(document.sensitivity).tables.map((table) => (
        <FigureTableView key={table.name} table={table} of={name} />
      ))}
      <Conditions values={values.filter(([, value]) => value !== "")} />
      <CommandList of={name} commands={[document.command]} />
    </Card>
  );
}
