import { say } from "../state/toasts.js";
import { Icon } from "./icon.js";

/** Copies a text. Where the browser has no clipboard to give, over plain HTTP, it selects the text of an element instead. */
export function CopyButton({ text, from }: { text: string; from: () => HTMLElement | null }) {
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied.");
    } catch {
      const element = from();
      if (element !== null) getSelection()?.selectAllChildren(element);
      say("This browser does not let a page copy here; the text is selected, press Ctrl+C.");
    }
  };
  return (
    <button type="button" class="small" onClick={() => void copy()}>
      <Icon name="copy" />
      Copy
    </button>
  );
}
