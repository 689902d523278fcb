import { PageHead } from "../parts/page-head.js";
import { PaneView } from "../parts/pane-view.js";
import { PlaygroundSaving } from "../parts/playground-saving.js";
import { left, right, runBoth, settings } from "../state/playground.js";

/** One prompt under two presets, side by side, with what each costs. */
export function PlaygroundPage() {
  const isRunning = [left, right].some(({ state }) => state.value !== "idle");
  const { prompt } = settings.value;
  return (
    <>
      <PageHead title="Playground" />
      <form
        class="card playground-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (!isRunning) void runBoth();
        }}
      >
        <label class="field">
          <span>Prompt, which both sessions go on from</span>
          <textarea
            rows={3}
            required
            value={prompt}
            onInput={(event) => {
              set({ prompt: event.currentTarget.value });
            }}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
              event.preventDefault();
              event.currentTarget.form?.requestSubmit();
            }}
          />
        </label>
        <div class="playground-settings">
          <NumberField label="New tokens" name="maxNewTokens" min={1} step={1} />
          <NumberField label="Temperature" name="temperature" min={0} step={0.1} />
          <NumberField label="Seed" name="seed" min={0} step={1} placeholder="any" />
          <div class="actions">
            {isRunning ? (
              <button
                type="button"
                onClick={() => {
                  left.stop();
                  right.stop();
                }}
              >
                Stop
              </button>
            ) : null}
            <button type="submit" class="primary" disabled={isRunning || prompt === ""}>
              Generate
            </button>
          </div>
        </div>
      </form>
      <PlaygroundSaving left={left} right={right} />
      <div class="panes">
        <PaneView pane={left} other={right} name="Left" />
        <PaneView pane={right} other={left} name="Right" />
      </div>
    </>
  );
}

function set(changes: Partial<typeof settings.value>): void {
  settings.value = { ...settings.value, ...changes };
}

interface NumberFieldProps {
  label: string;
  name: "maxNewTokens" | "temperature" | "seed";
  min: number;
  step: number;
  placeholder?: string;
}

function NumberField({ label, name, min, step, placeholder = "" }: NumberFieldProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        min={min}
        step={step}
        required={placeholder === ""}
        placeholder={placeholder}
        value={settings.value[name]}
        onInput={(event) => {
          set({ [name]: event.currentTarget.value });
        }}
      />
    </label>
  );
}
