import type { IncomingMessage } from "node:http";
import { hostname, networkInterfaces } from "node:os";
import { KittyError, UnauthorizedError } from "../errors.js";
import { isSameToken } from "./token.js";

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];
const WILDCARDS = new Set(["0.0.0.0", "::"]);

/** Whether only this machine can reach an address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

export interface AccessOptions {
  token: string;
  /** Where the server listens. */
  host: string;
  /** Further names that clients call it by. */
  allowedHosts: readonly string[];
}

/** Decides who may ask anything. */
export class Access {
  readonly #token: string;
  readonly #hosts: ReadonlySet<string>;

  constructor({ token, host, allowedHosts }: AccessOptions) {
    this.#token = token;
    const own = WILDCARDS.has(host) ? ownNames() : [inUrl(host)];
    this.#hosts = new Set([...LOOPBACK, ...own, ...allowedHosts].map((name) => name.toLowerCase()));
  }

  /**
   * A web page that somebody else serves must not reach us: neither under a name that it made resolve to this machine, nor
   * from a page of its own.
   * @throws KittyError `forbidden`
   */
  checkOrigin({ headers }: IncomingMessage): void {
    const { host = "", origin } = headers;
    if (!this.#hosts.has(nameOf(host))) {
      throw forbidden(`the Host ${quote(host)} is none of this server's names, list it in server.allowedHosts`, {
        host,
      });
    }
    if (origin === undefined || origin.toLowerCase() === `http://${host.toLowerCase()}`) return;
    // Behind a proxy that adds TLS.
    if (origin.toLowerCase() === `https://${host.toLowerCase()}`) return;
    throw forbidden(`the Origin ${quote(origin)} is a page of somebody else, use a page of this server or a program`, {
      origin,
    });
  }

  /**
   * A browser cannot send headers with a WebSocket, and an address would be logged; there the token is the name of a
   * protocol, which is not.
   * @throws UnauthorizedError
   */
  checkToken({ headers }: IncomingMessage): void {
    const given = /^Bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1] ?? offeredToken(headers);
    if (given !== undefined && isSameToken(given, this.#token)) return;
    const found =
      headers.authorization === undefined ? "there is no Authorization header" : "the token is not this server's";
    throw new UnauthorizedError(
      `Cannot answer: ${found}; send "Authorization: Bearer TOKEN" with the token that "kitty-kv up" prints`,
    );
  }
}

/** `kitty-kv.token.BASE64URL` among the protocols that a WebSocket offers. */
function offeredToken(headers: IncomingMessage["headers"]): string | undefined {
  if (headers.upgrade?.toLowerCase() !== "websocket") return undefined;
  const encoded = /(?:^|[,\s])kitty-kv\.token\.([\w-]+)/.exec(headers["sec-websocket-protocol"] ?? "")?.[1];
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64url").toString("utf8");
}

function forbidden(found: string, details: Record<string, string>): KittyError {
  return new KittyError(`Cannot answer: ${found}`, { code: "forbidden", details });
}

/** "[::1]:7717" -> "[::1]" */
function nameOf(host: string): string {
  return host.replace(/:\d+$/, "").toLowerCase();
}

function ownNames(): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return [hostname(), ...addresses.map(({ address }) => inUrl(address))];
}

function inUrl(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
