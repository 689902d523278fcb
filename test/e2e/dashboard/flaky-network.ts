import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A way to a server that can be cut and mended, or that lets no WebSocket through. */
export class FlakyNetwork implements AsyncDisposable {
  readonly url: string;
  readonly #server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;
  blocksWebSockets = false;

  static async to(url: string): Promise<FlakyNetwork> {
    const target = Number(new URL(url).port);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new FlakyNetwork(server, target);
  }

  private constructor(server: ReturnType<typeof createServer>, target: number) {
    this.#server = server;
    this.url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
    server.on("connection", (client: Socket) => {
      this.#join(client, target);
    });
  }

  /** Ends every connection, and lets none through until `mend`. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Connections stay and carry nothing, as after a machine's sleep. */
  freeze(): void {
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  mend(): void {
    this.#isCut = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client: Socket, target: number): void {
    if (this.#isCut) {
      client.destroy();
      return;
    }
    const server = connect(target, "127.0.0.1");
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        this.#sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    client.once("data", (first: Buffer) => {
      if (this.blocksWebSockets && /^upgrade: websocket/im.test(first.toString("latin1"))) {
        client.destroy();
        return;
      }
      server.write(first);
      client.pipe(server);
    });
    server.pipe(client);
  }
}
