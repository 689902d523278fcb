import { useEffect, useRef, useState } from "preact/hooks";
import type { Job } from "../../server/wire/jobs.js";
import { ask, call, messageOf } from "../api/client.js";
import { readFields, schemaOfKind, toSpec, type FormValues, type JsonSchema } from "../model/schema-form.js";
import { JobForm } from "../parts/job-form.js";
import { Loading, Notice } from "../parts/notice.js";
import { PageHead } from "../parts/page-head.js";
import { SpecPreview } from "../parts/spec-preview.js";
import { navigate, place } from "../router.js";
import { remember } from "../state/live.js";
import { say } from "../state/toasts.js";
import { useCheckedSpec } from "../state/use-checked-spec.js";
import { useJobSchema } from "../state/use-job-schema.js";

/** Submits a job: from a form that the server's own schema makes, or from YAML. */
export function NewJobPage() {
  const { data: schema, error } = useJobSchema();
  if (schema !== undefined) return <Editor schema={schema} />;
  return (
    <>
      <PageHead over={<a href="/jobs">Jobs</a>} title="New job" />
      {error === undefined ? <Loading what="the form" /> : <Notice kind="error">{error}</Notice>}
    </>
  );
}

function Editor({ schema }: { schema: JsonSchema }) {
  const [kind, setKind] = useState("generate");
  const [values, setValues] = useState<FormValues>({});
  const [yaml, setYaml] = useState<string | undefined>();
  const fields = readFields(schemaOfKind(schema, kind) ?? {});
  const check = useCheckedSpec(yaml === undefined ? { spec: toSpec(kind, fields, values) } : { yaml });
  const error = usePrefilled(setYaml);
  const { submit, isBusy, problem } = useSubmit();
  const { checked } = check;
  return (
    <>
      <PageHead over={<a href="/jobs">Jobs</a>} title="New job">
        <ModeSwitch
          isYaml={yaml !== undefined}
          onChange={(isYaml) => {
            setYaml(isYaml ? (checked?.yaml ?? `kind: ${kind}\n`) : undefined);
          }}
        />
      </PageHead>
      {error === undefined ? null : <Notice kind="error">{error}</Notice>}
      <form
        class="new-job"
        onSubmit={(event) => {
          event.preventDefault();
          if (checked !== undefined) void submit(checked.spec);
        }}
      >
        {yaml === undefined ? (
          <JobForm kind={kind} fields={fields} values={values} check={check} onKind={setKind} onValues={setValues} />
        ) : (
          <YamlEditor text={yaml} isWrong={check.error !== undefined} onText={setYaml} />
        )}
        <SpecPreview check={check} isYaml={yaml !== undefined} isBusy={isBusy} problem={problem} />
      </form>
    </>
  );
}

/** `?from=ID` begins with that job's spec. */
function usePrefilled(onYaml: (text: string) => void): string | undefined {
  const [error, setError] = useState<string | undefined>();
  const from = new URLSearchParams(place.value.query).get("from");
  useEffect(() => {
    if (from === null) return;
    ask(`/api/jobs/${encodeURIComponent(from)}/spec`)
      .then((response) => response.text())
      .then(onYaml, (problem: unknown) => {
        setError(messageOf(problem));
      });
  }, [from]);
  return error;
}

function useSubmit() {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | undefined>();
  // One key for a spec, so that an answer which got lost does not make the job twice.
  const keys = useRef(new Map<string, string>());
  const submit = async (spec: unknown): Promise<void> => {
    const text = JSON.stringify(spec);
    const key = keys.current.get(text) ?? randomKey();
    keys.current.set(text, key);
    setBusy(true);
    setProblem(undefined);
    try {
      const job = await call<Job>("/api/jobs", { body: spec, headers: { "idempotency-key": key } });
      remember(job);
      say("The job is submitted.");
      navigate(`/jobs/${job.id}`);
    } catch (error) {
      setProblem(messageOf(error));
      setBusy(false);
    }
  };
  return { submit, isBusy, problem };
}

function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

function ModeSwitch({ isYaml, onChange }: { isYaml: boolean; onChange: (isYaml: boolean) => void }) {
  return (
    <div class="segmented" role="radiogroup" aria-label="Write as">
      {[false, true].map((mode) => (
        <label key={String(mode)}>
          <input
            type="radio"
            name="mode"
            checked={isYaml === mode}
            onChange={() => {
              onChange(mode);
            }}
          />
          <span>{mode ? "YAML" : "Form"}</span>
        </label>
      ))}
    </div>
  );
}

interface YamlEditorProps {
  text: string;
  isWrong: boolean;
  onText: (text: string) => void;
}

function YamlEditor({ text, isWrong, onText }: YamlEditorProps) {
  return (
    <div class="card">
      <label class="field">
        <span>Spec as YAML</span>
        <textarea
          class="code yaml"
          spellcheck={false}
          rows={22}
          value={text}
          aria-invalid={isWrong}
          onInput={(event) => {
            onText(event.currentTarget.value);
          }}
        />
      </label>
    </div>
  );
}
