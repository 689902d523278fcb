import { existsSync, readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Request, Response } from "express";
import { z } from "zod";
import { KittyError, NotFoundError } from "../errors.js";
import { endpoint, type Endpoint } from "./endpoint.js";

/** The addresses that the page itself tells apart. */
const PAGES = [
  ...["/", "/jobs", "/jobs/new", "/jobs/{id}", "/compare", "/report"],
  ...["/instances", "/cluster", "/playground", "/system"],
];
const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};
// The name of such a file has the hash of its content.
const FOR_EVER = "public, max-age=31536000, immutable";

interface BuiltFile {
  contentType: string;
  plain: Buffer;
  zipped: Buffer;
}

/** What a browser shows of the server: files without data, which it then asks for with the token. */
export function dashboardFiles(folder: string | undefined): readonly Endpoint[] {
  const files = folder === undefined ? new Map<string, BuiltFile>() : readFiles(folder);
  const pages = PAGES.map((path) =>
    endpoint({
      ...{ method: "get", path, tag: "system", summary: `Show ${path}`, isOpen: true },
      // What is in it is the page's own, such as a search.
      query: z.looseObject({}),
      answers: [{ description: "The dashboard", contentType: "text/html" }],
      handle: ({ request, response }) => {
        const index = files.get("index.html");
        if (index === undefined) throw notBuilt(folder);
        send(index, request, response, "no-cache");
        return Promise.resolve(undefined);
      },
    }),
  );
  const asset = endpoint({
    ...{ method: "get", path: "/assets/{file}", tag: "system", summary: "Show a part of the page", isOpen: true },
    answers: [{ description: "A part of the dashboard", contentType: "text/javascript" }],
    handle: ({ params, request, response }) => {
      const name = params["file"] ?? "";
      const file = files.get(`assets/${name}`);
      if (file === undefined) throw noSuchFile(name);
      send(file, request, response, FOR_EVER);
      return Promise.resolve(undefined);
    },
  });
  return [...pages, asset];
}

/** All of them in memory: they are few and small, and a path of a request then never reaches the disk. */
function readFiles(folder: string): ReadonlyMap<string, BuiltFile> {
  if (!existsSync(folder)) return new Map();
  const names = ["", "assets"].flatMap((part) =>
    existsSync(join(folder, part))
      ? readdirSync(join(folder, part)).map((name) => (part ? `${part}/${name}` : name))
      : [],
  );
  const known = names.filter((name) => TYPES[extname(name)] !== undefined);
  return new Map(
    known.map((name) => {
      const plain = readFileSync(join(folder, name));
      const file = { contentType: TYPES[extname(name)] ?? "", plain, zipped: gzipSync(plain, { level: 9 }) };
      return [name, file];
    }),
  );
}

function send(file: BuiltFile, request: Request, response: Response, caching: string): void {
  response.setHeader("cache-control", caching);
  response.setHeader("content-type", file.contentType);
  response.setHeader("vary", "accept-encoding");
  const isZipped = request.acceptsEncodings("gzip") === "gzip";
  if (isZipped) response.setHeader("content-encoding", "gzip");
  response.send(isZipped ? file.zipped : file.plain);
}

function notBuilt(folder: string | undefined): KittyError {
  const found = folder === undefined ? "the program that serves here brings none" : `it is not in ${folder}`;
  return new KittyError(`Cannot show the dashboard: ${found}; build it with "npm run build" and start "kitty-kv up"`, {
    code: "dashboard_not_built",
  });
}

function noSuchFile(name: string): NotFoundError {
  const shown = JSON.stringify(name.slice(0, 100));
  return new NotFoundError(`Cannot show ${shown}: this version has no such file, load the page anew`, {
    code: "route_not_found",
  });
}
