import { useId } from "preact/hooks";
import { titleOf } from "../model/figures.js";
import { fieldError, type Field } from "../model/schema-form.js";

interface SchemaInputProps {
  field: Field;
  value: string;
  /** What the server says of it. */
  error: string | undefined;
  onValue: (value: string) => void;
}

const LONG = new Set(["lines", "json"]);

/** One input as its schema wants it, with what is wrong with what is in it. */
export function SchemaInput({ field, value, error, onValue }: SchemaInputProps) {
  const id = useId();
  const problem = fieldError(field, value) ?? error;
  const described = problem === undefined ? `${id}-hint` : `${id}-error`;
  return (
    <div class={LONG.has(field.type) ? "field field-wide" : "field"}>
      <label for={id}>{titleOf(field.path.replace(/^(params|cache|resources|retry)\./, ""))}</label>
      <Input
        id={id}
        field={field}
        value={value}
        isWrong={problem !== undefined}
        described={described}
        onValue={onValue}
      />
      {problem === undefined ? (
        <span class="field-hint" id={`${id}-hint`}>
          {hintOf(field)}
        </span>
      ) : (
        <span class="field-error" id={`${id}-error`} role="alert">
          {problem}
        </span>
      )}
    </div>
  );
}

interface InputProps {
  id: string;
  field: Field;
  value: string;
  isWrong: boolean;
  described: string;
  onValue: (value: string) => void;
}

function Input({ id, field: { type, choices, fallback }, value, isWrong, described, onValue }: InputProps) {
  const common = {
    id,
    value,
    "aria-invalid": isWrong,
    "aria-describedby": described,
    onInput: (event: Event) => {
      onValue((event.currentTarget as HTMLInputElement).value);
    },
  };
  if (type === "choice" || type === "boolean") {
    return (
      <select {...common}>
        <option value="">{fallback === "" ? "As configured" : `As usual: ${fallback}`}</option>
        {(type === "boolean" ? ["true", "false"] : choices).map((choice) => (
          <option key={choice} value={choice}>
            {type === "boolean" ? (choice === "true" ? "yes" : "no") : choice}
          </option>
        ))}
      </select>
    );
  }
  if (LONG.has(type)) {
    return (
      <textarea
        {...common}
        rows={type === "json" ? 5 : 3}
        class={type === "json" ? "code" : ""}
        placeholder={fallback}
      />
    );
  }
  const isNumber = type === "integer" || type === "number";
  return <input {...common} type="text" inputMode={isNumber ? "decimal" : "text"} placeholder={fallback} />;
}

function hintOf({ type, hint }: Field): string {
  if (hint !== undefined) return hint;
  if (type === "lines") return "One a line.";
  return type === "json" ? "As JSON." : "";
}
