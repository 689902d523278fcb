export type Labels = Readonly<Record<string, string>>;

/** Something that writes itself in Prometheus's text format, version 0.0.4. */
export interface Metric {
  render(): string;
}

export interface MetricName {
  name: string;
  help: string;
}

/** A number that only grows, one for each set of labels. */
export class Counter implements Metric {
  readonly #name: MetricName;
  readonly #values = new Map<string, number>();

  constructor(name: MetricName) {
    this.#name = name;
  }

  add(amount = 1, labels: Labels = {}): void {
    const key = renderLabels(labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + amount);
  }

  render(): string {
    const samples = [...this.#values].map(([labels, value]) => sample(this.#name.name, labels, value));
    return renderFamily(this.#name, "counter", samples);
  }
}

/** How many values were at most each bound, and their sum. */
export class Histogram implements Metric {
  readonly #name: MetricName;
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, { labels: Labels; counts: number[]; sum: number; count: number }>();

  constructor(name: MetricName, bounds: readonly number[]) {
    this.#name = name;
    this.#bounds = bounds;
  }

  observe(value: number, labels: Labels = {}): void {
    const key = renderLabels(labels);
    const series = this.#series.get(key) ?? { labels, counts: this.#bounds.map(() => 0), sum: 0, count: 0 };
    this.#series.set(key, series);
    for (const [index, bound] of this.#bounds.entries())
      if (value <= bound) series.counts[index] = (series.counts[index] ?? 0) + 1;
    series.sum += value;
    series.count += 1;
  }

  render(): string {
    const { name } = this.#name;
    const samples = [...this.#series.values()].flatMap(({ labels, counts, sum, count }) => [
      ...counts.map((value, index) =>
        sample(`${name}_bucket`, renderLabels({ ...labels, le: String(this.#bounds[index]) }), value),
      ),
      sample(`${name}_bucket`, renderLabels({ ...labels, le: "+Inf" }), count),
      sample(`${name}_sum`, renderLabels(labels), sum),
      sample(`${name}_count`, renderLabels(labels), count),
    ]);
    return renderFamily(this.#name, "histogram", samples);
  }
}

/** Values as they are when they are asked for. */
export function renderGauge(name: MetricName, values: readonly { value: number; labels?: Labels }[]): string {
  const samples = values.map(({ value, labels = {} }) => sample(name.name, renderLabels(labels), value));
  return renderFamily(name, "gauge", samples);
}

function renderFamily({ name, help }: MetricName, type: string, samples: readonly string[]): string {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples, ""].join("\n");
}

function sample(name: string, labels: string, value: number): string {
  return `${name}${labels} ${String(value)}`;
}

function renderLabels(labels: Labels): string {
  const entries = Object.entries(labels);
  if (entries.length === 0) return "";
  return `{${entries.map(([name, value]) => `${name}="${escapeValue(value)}"`).join(",")}}`;
}

function escapeValue(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
