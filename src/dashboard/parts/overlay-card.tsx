import type { WireOverlay } from "../../server/wire/overlays.js";
import { formatBytes } from "../model/format.js";
import { Ago } from "./ago.js";
import { Card } from "./card.js";

/** An overlay and whoever uses it: many may read it, or one writes. */
export function OverlayCard({ overlay }: { overlay: WireOverlay }) {
  const { path, sizeBytes, allocatedBytes, manifest, holders } = overlay;
  const packages = Object.keys(manifest.packages ?? {}).length;
  return (
    <Card title="Overlay" aside={<span class="tag">{manifest.state}</span>}>
      <dl class="values">
        <div class="value-wide">
          <dt>File</dt>
          <dd>
            <code>{path}</code>
          </dd>
        </div>
        <div>
          <dt>Size</dt>
          <dd>
            {formatBytes(allocatedBytes)} of {formatBytes(sizeBytes)}
          </dd>
        </div>
        <div>
          <dt>Format</dt>
          <dd>{manifest.format ?? "ext3"}</dd>
        </div>
        <div>
          <dt>Packages</dt>
          <dd>{packages === 0 ? "none yet" : packages}</dd>
        </div>
        <div>
          <dt>Made</dt>
          <dd>
            <Ago time={manifest.createdAt} />
          </dd>
        </div>
      </dl>
      <h3>{holders.length === 0 ? "Nobody uses it now." : "Used by"}</h3>
      <ul class="holders">
        {holders.map(({ kind, purpose, since, pid, host }) => (
          <li key={`${host}/${String(pid)}/${since}`}>
            <span class="tag">{kind}</span> {purpose}, process {pid} on {host}, <Ago time={since} />
          </li>
        ))}
      </ul>
    </Card>
  );
}
