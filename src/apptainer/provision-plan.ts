import { readFileSync } from "node:fs";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { PROXY_NAMES, keptVariables } from "../util/kept-variables.js";

/** What a provision installs; without `packages` it is this repository's own. */
export interface ProvisionPlan {
  /** Requirements as pip reads them. */
  requirements: readonly string[];
  /** Folders of Python sources that are installed after the requirements, in this order. */
  sources: readonly string[];
  /** pip constraints: the versions that were tested. */
  constraints: string | undefined;
  /** Modules that have to be importable afterwards. */
  imports: readonly string[];
}

/**
 * Kitty KV's own packages and what they need, at the versions in a lock file.
 * @param constraints the lock file. @default the package's own
 */
export function ownPlan(
  packageFolder: string,
  constraints = join(packageFolder, "python", "requirements.lock"),
): ProvisionPlan {
  return {
    // What builds the sources: no package index is asked for it behind pip's back.
    requirements: ["setuptools"],
    sources: [join(packageFolder, "kernels"), join(packageFolder, "python")],
    constraints,
    imports: ["kitty_kernels", "kitty_kv", "torch", "transformers"],
  };
}

/** Writes everything that the provisioning script reads into a folder, which the container sees read-only. */
export async function writePlan(
  folder: string,
  script: string,
  plan: ProvisionPlan,
  isOffline: boolean,
): Promise<void> {
  const sources = plan.sources.map((source, index) => ({ source, name: `${String(index)}-${basename(source)}` }));
  await mkdir(join(folder, "sources"), { recursive: true });
  for (const { source, name } of sources) {
    await cp(source, join(folder, "sources", name), { recursive: true, filter: isSource });
  }
  await cp(script, join(folder, "provision.py"));
  if (plan.constraints !== undefined) await cp(plan.constraints, join(folder, "constraints.txt"));
  const certificates = process.env["PIP_CERT"] ?? process.env["SSL_CERT_FILE"];
  if (!isOffline && certificates !== undefined) await writeFile(join(folder, "ca.crt"), readFileSync(certificates));
  const document = {
    requirements: plan.requirements,
    sources: sources.map(({ name }) => name),
    imports: plan.imports,
    hasConstraints: plan.constraints !== undefined,
    isOffline,
    environment: isOffline ? {} : pipEnvironment(process.env),
  };
  // An index's address may hold a password.
  await writeFile(join(folder, "plan.json"), JSON.stringify(document), { mode: 0o600 });
}

function isSource(path: string): boolean {
  return !/(^|\/)(__pycache__|build|[^/]+\.egg-info)$/.test(path);
}

const PIP_NAMES = ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", ...PROXY_NAMES];

/** Where packages come from on this machine. */
function pipEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return keptVariables(environment, PIP_NAMES);
}
