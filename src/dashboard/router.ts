import { signal } from "@preact/signals";

/** Where the page is; changes with every link and with the browser's own buttons. */
export const place = signal({ path: location.pathname, query: location.search });

/** Goes to an address of this page. A search that is typed replaces the entry before, so that "back" leaves the list. */
export function navigate(address: string, { isReplaced = false }: { isReplaced?: boolean } = {}): void {
  const { path } = place.value;
  if (isReplaced) history.replaceState(undefined, "", address);
  else history.pushState(undefined, "", address);
  update();
  if (place.value.path !== path) scrollTo(0, 0);
}

/** Follows links inside the page without loading it anew; clicks that ask for another tab are the browser's. */
export function followLinks(): void {
  addEventListener("popstate", update);
  document.addEventListener("click", (event) => {
    const link = (event.target as Element).closest("a");
    if (link?.target !== "" || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    // A link to a part of this page is the browser's.
    if (link.hash !== "" && link.pathname === location.pathname) return;
    event.preventDefault();
    navigate(link.pathname + link.search);
    document.querySelector<HTMLElement>("main")?.focus({ preventScroll: true });
  });
}

function update(): void {
  place.value = { path: location.pathname, query: location.search };
}
