import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

const BEYOND = 10;

/** Which of many rows of one height are in sight of the element that scrolls them. */
export function useVirtual(holder: RefObject<HTMLElement | null>, rowHeight: number, total: number) {
  const [view, setView] = useState({ first: 0, count: 40 });
  useEffect(() => {
    const element = holder.current;
    if (element === null) return undefined;
    const look = (): void => {
      const first = Math.max(0, Math.floor(element.scrollTop / rowHeight) - BEYOND);
      const count = Math.ceil(element.clientHeight / rowHeight) + 2 * BEYOND;
      setView((before) => (before.first === first && before.count === count ? before : { first, count }));
    };
    look();
    element.addEventListener("scroll", look, { passive: true });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => {
      element.removeEventListener("scroll", look);
      observer.disconnect();
    };
  }, [rowHeight]);
  const first = Math.min(view.first, Math.max(0, total - view.count));
  return { first, end: Math.min(total, first + view.count), count: view.count };
}
