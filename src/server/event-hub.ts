import { STATUS_CODES, type IncomingMessage, type Server } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { z } from "zod";
import { validate } from "../config/validate.js";
import { KittyError, NotFoundError } from "../errors.js";
import type { EventLog } from "../job/event-log.js";
import type { Access } from "./access.js";
import { statusOf, toKittyError } from "./error-status.js";
import { eventQueryShape } from "./event-endpoints.js";
import { EventFollower } from "./event-follower.js";
import type { EventFilter } from "./follow-log.js";
import type { RateLimit } from "./rate-limit.js";
import { checkSince, readTopics } from "./read-topics.js";
import { errorBody } from "./send-error.js";

export const EVENTS_PATH = "/api/events";
/** What browsers offer beside their token. */
const EVENTS_PROTOCOL = "kitty-kv.events";
const MOST_CLIENTS = 1000;
// Clients have nothing to say.
const LONGEST_MESSAGE_BYTES = 1024;

const querySchema = z.strictObject(eventQueryShape);

export interface EventHubOptions {
  events: () => EventLog;
  /** How long a client may read nothing. */
  stallTimeoutMs: number;
  access: Access;
  rateLimit: RateLimit;
  onDefect: (error: unknown) => void;
}

/** `WS /api/events?since=SEQ&topics=job,session`: events after a number, first those in the log, then those to come. */
export class EventHub {
  readonly #options: EventHubOptions;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: LONGEST_MESSAGE_BYTES,
    perMessageDeflate: false,
    // Never the one that is a token.
    handleProtocols: (offered) => (offered.has(EVENTS_PROTOCOL) ? EVENTS_PROTOCOL : false),
  });
  readonly #followers = new Set<EventFollower>();

  constructor(server: Server, options: EventHubOptions) {
    this.#options = options;
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      // A client that goes away in the middle is none of our errors.
      socket.on("error", () => undefined);
      try {
        this.#upgrade(request, socket, head);
      } catch (error) {
        const known = toKittyError(error);
        if (known.code === "internal") options.onDefect(error);
        refuse(socket, known);
      }
    });
  }

  /** Ends every connection. */
  close(): void {
    for (const follower of this.#followers) follower.close(1001, "the server stops; come back with the last seq");
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { access, rateLimit, events, stallTimeoutMs, onDefect } = this.#options;
    rateLimit.check(request.socket.remoteAddress ?? "");
    access.checkOrigin(request);
    access.checkToken(request);
    const { since, ...filter } = readRequest(request);
    if (this.#followers.size >= MOST_CLIENTS) {
      throw new KittyError(`Cannot follow events: ${String(MOST_CLIENTS)} clients do already; try again later`, {
        code: "queue_full",
      });
    }
    const log = events();
    checkSince(since, log);
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const follower = new EventFollower(webSocket, log, {
        connection: socket,
        since,
        ...filter,
        stallTimeoutMs,
        onDefect,
      });
      this.#followers.add(follower);
      webSocket.once("close", () => this.#followers.delete(follower));
    });
  }
}

function readRequest({ url = "" }: IncomingMessage): EventFilter & { since: number } {
  const { pathname, searchParams } = new URL(url, "http://localhost");
  if (pathname !== EVENTS_PATH) {
    throw new NotFoundError(`Cannot open a WebSocket at ${pathname.slice(0, 200)}: the only one is ${EVENTS_PATH}`, {
      code: "route_not_found",
    });
  }
  const query = validate(querySchema, Object.fromEntries(searchParams), { attempt: "follow events" });
  return { since: query.since, id: query.id, topics: readTopics(query.topics) };
}

/** Before the upgrade, a refusal is an HTTP answer like any other. */
function refuse(socket: Duplex, error: KittyError): void {
  const status = statusOf(error);
  const body = JSON.stringify(errorBody(error, EVENTS_PATH));
  const head = [
    `HTTP/1.1 ${String(status)} ${STATUS_CODES[status] ?? ""}`,
    "Connection: close",
    "Content-Type: application/json; charset=utf-8",
    `Content-Length: ${String(Buffer.byteLength(body))}`,
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}
