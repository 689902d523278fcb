import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { place } from "../router.js";
import { connection } from "../state/live.js";
import { readRunner, runner } from "../state/runner.js";
import { ConnectionBadge } from "./connection-badge.js";
import { Icon, type IconName } from "./icon.js";
import { ThemeSwitch } from "./theme-switch.js";

interface PageLink {
  path: string;
  text: string;
  icon: IconName;
  /** Whether it is there only where jobs run on a cluster. */
  needsCluster?: boolean;
}

const LINKS: readonly PageLink[] = [
  { path: "/", text: "Overview", icon: "overview" },
  { path: "/jobs", text: "Jobs", icon: "jobs" },
  { path: "/playground", text: "Playground", icon: "playground" },
  { path: "/cluster", text: "Cluster", icon: "cluster", needsCluster: true },
  { path: "/instances", text: "Instances", icon: "instances" },
  { path: "/system", text: "System", icon: "system" },
];

/** What is around every page: where one can go, and whether what is shown is live. */
export function Shell({ children }: { children: ComponentChildren }) {
  const { path } = place.value;
  const current = LINKS.find((link) => isCurrent(link.path, path));
  const isLive = connection.value === "live";
  useEffect(() => {
    void readRunner();
  }, [isLive]);
  const links = LINKS.filter(({ needsCluster = false }) => !needsCluster || runner.value === "slurm");
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
        {links.map((link) => (
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
