import { spawn } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import { SetupError } from "./setup-error.mjs";
import { remedyFor } from "./remedies.mjs";

const KEPT_LINES = 200;
const KILL_AFTER_MS = 3000;

/**
 * Runs a command of a step, keeping its last lines.
 * @throws SetupError with those lines and a remedy
 */
export async function runCommand(step, [file, ...args], { root, progress, undo, lockFd, env = process.env }) {
  // The command holds the lock too: should we be killed, the next set-up waits until it is really over.
  const stdio = ["ignore", "pipe", "pipe", ...(lockFd === undefined ? [] : [lockFd])];
  const child = spawn(file, args, { cwd: root, env, stdio, detached: true });
  const ended = new Promise((resolve) => {
    child.once("error", (error) => resolve({ error }));
    child.once("close", (exitCode, signal) => resolve({ exitCode, signal }));
  });
  undo.child = { stop: () => stopGroup(child, ended) };
  const lines = collectLines(child, (line) => (progress.detail = line));
  const { error, exitCode, signal } = await ended;
  undo.child = undefined;
  if (exitCode === 0) return;
  const output = withoutUsage(lines());
  const found = error === undefined ? describeEnd(file, exitCode, signal) : `${file} cannot be started (${error.code})`;
  throw new SetupError(step, found, { output, remedy: remedyFor({ step, output, signal, root, error }), cause: error });
}

/** npm explains all its options after some errors, and the cause stands before that. */
function withoutUsage(lines) {
  const start = lines.findIndex((line) => line === "npm error Clean install a project");
  return start === -1 ? lines : lines.slice(0, start).filter((line) => line !== "npm error");
}

function describeEnd(file, exitCode, signal) {
  const name = file.split("/").at(-1);
  return exitCode === null ? `${name} was ended by ${signal}` : `${name} ended with exit code ${exitCode}`;
}

function collectLines(child, onLine) {
  const kept = [];
  const rest = new Map();
  const keep = (line) => {
    const clean = stripVTControlCharacters(line).trimEnd();
    if (clean === "") return;
    kept.push(clean);
    if (kept.length > KEPT_LINES) kept.shift();
    onLine(clean.trim());
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      const parts = ((rest.get(stream) ?? "") + text).split(/\r\n|\n|\r/);
      rest.set(stream, parts.pop());
      parts.forEach(keep);
    });
  }
  return () => {
    [...rest.values()].forEach(keep);
    return kept;
  };
}

/** Ends a command and all it started: politely, then for sure. */
async function stopGroup(child, ended) {
  if (child.pid === undefined) return;
  signalGroup(child.pid, "SIGTERM");
  const timer = setTimeout(() => signalGroup(child.pid, "SIGKILL"), KILL_AFTER_MS);
  await ended;
  clearTimeout(timer);
  signalGroup(child.pid, "SIGKILL");
}

function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== "ESRCH" && error.code !== "EPERM") throw error;
  }
}
