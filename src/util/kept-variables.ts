/** Where the network is reached, by whatever program. */
export const PROXY_NAMES = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"] as const;

/** What programs that speak TLS trust. */
export const CERTIFICATE_NAMES = ["SSL_CERT_FILE", "SSL_CERT_DIR"] as const;

/** Of `KITTY_KV_*`: whoever works for us serves nobody over HTTP, and is not trusted. */
const SECRET_NAMES = new Set(["KITTY_KV_TOKEN"]);

/** The variables of an environment that have one of these names or begin so; never our secrets. */
export function keptVariables(
  environment: Readonly<Record<string, string | undefined>>,
  names: readonly string[],
  prefixes: readonly string[] = [],
): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    const isAllowed = names.includes(name) || prefixes.some((prefix) => name.startsWith(prefix));
    if (isAllowed && !SECRET_NAMES.has(name) && value !== undefined) kept[name] = value;
  }
  return kept;
}
