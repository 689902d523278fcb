import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface CutConnection extends AsyncDisposable {
  url: string;
  /** How many connections were cut so far. */
  readonly cuts: number;
}

/** A way to a server on which every connection is cut, in the middle of whatever it carries, each `intervalMs`. */
export async function cutConnection(target: string, intervalMs: number): Promise<CutConnection> {
  const sockets = new Set<Socket>();
  let cuts = 0;
  const proxy = createServer((client) => {
    const server = connect(Number(new URL(target).port), "127.0.0.1");
    client.pipe(server).pipe(client);
    sockets.add(client);
    for (const socket of [client, server]) socket.on("error", () => undefined);
    client.once("close", () => {
      sockets.delete(client);
      server.destroy();
    });
    server.once("close", () => client.destroy());
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const timer = setInterval(() => {
    cuts += sockets.size;
    for (const socket of sockets) socket.resetAndDestroy();
  }, intervalMs);
  return {
    url: `http://127.0.0.1:${String((proxy.address() as AddressInfo).port)}`,
    get cuts() {
      return cuts;
    },
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer);
      for (const socket of sockets) socket.destroy();
      proxy.close();
      await once(proxy, "close");
    },
  };
}
