import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { place } from "../router.js";
import { ConnectionBadge } from "./connection-badge.js";
import { Icon, type IconName } from "./icon.js";
import { ThemeSwitch } from "./theme-switch.js";

const LINKS: readonly { path: string; text: string; icon: IconName }[] = [
  { path: "/", text: "Overview", icon: "overview" },
  { path: "/jobs", text: "Jobs", icon: "jobs" },
  { path: "/playground", text: "Playground", icon: "playground" },
  { path: "/instances", text: "Instances", icon: "instances" },
  { path: "/system", text: "System", icon: "system" },
];

/** What is around every page: where one can go, and whether what is shown is live. */
export function Shell({ children }: { children: ComponentChildren }) {
  const { path } = place.value;
  const current = LINKS.find((link) => isCurrent(link.path, path));
  useEffect(() => {
    document.title = `${current?.text ?? "Kitty KV"} · Kitty KV`;
  }, [current]);
  return (
    <div class="shell">
      <a class="skip" href="#main">
        Skip to content
      </a>
      <header class="topbar">
        <a class="brand" href="/" aria-label="Kitty KV, overview">
          <Icon name="brand" />
          <span>Kitty KV</span>
        </a>
        <div class="topbar-end">
          <ConnectionBadge />
          <ThemeSwitch />
        </div>
      </header>
      <nav class="nav" aria-label="Pages">
        {LINKS.map((link) => (
          <a key={link.path} href={link.path} aria-current={link === current ? "page" : undefined}>
            <Icon name={link.icon} />
            <span>{link.text}</span>
          </a>
        ))}
      </nav>
      <main class="main" id="main" tabIndex={-1}>
        {children}
      </main>
    </div>
  );
}

function isCurrent(link: string, path: string): boolean {
  if (link === "/") return path === "/";
  return path === link || path.startsWith(`${link}/`) || (link === "/jobs" && ["/compare", "/report"].includes(path));
}
