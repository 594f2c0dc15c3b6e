// Starts simulators and asks them.

import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";

/** A running simulator; its `url` is the base of all REST paths. */
export class Simulator {
  /** Starts `binary` on a free port and waits until it prints its address. */
  static async start(binary, token, options) {
    const flags = ["--listen", "127.0.0.1:0", "--token", token, ...options];
    const child = spawn(binary, flags, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise((resolve) => child.once("close", resolve));
    const lines = createInterface({ input: child.stdout });
    const url = await Promise.race([
      new Promise((resolve) => lines.once("line", resolve)),
      ended.then((status) => Promise.reject(new Error(`the simulator ended with ${status}`))),
    ]);
    return new Simulator(child, ended, url, token);
  }

  constructor(child, ended, url, token) {
    Object.assign(this, { child, ended, url, token });
  }

  /** Asks for a path below the base, or for a whole address; `token` null sends none. */
  async get(path, { token = this.token, headers = {} } = {}) {
    const url = path.startsWith("http") ? path : this.url + path;
    const authorization = token === null ? {} : { authorization: `Bearer ${token}` };
    const answer = await fetch(url, {
      headers: { "user-agent": "hubwarden-openapi-test", ...authorization, ...headers },
      redirect: "error",
      signal: AbortSignal.timeout(30_000),
    });
    return { url, status: answer.status, headers: answer.headers, body: await answer.json() };
  }

  async stop() {
    this.child.kill("SIGINT");
    await this.ended;
  }
}

/** The same life as a file: its events, parsed. */
export function generate(binary, life) {
  const flags = ["generate", ...life];
  const made = spawnSync(binary, flags, { encoding: "utf8", maxBuffer: 1 << 28 });
  if (made.status !== 0) throw new Error(`the generator ended with ${made.status}: ${made.stderr}`);
  return made.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** One event of every form of a life: what differs is the action, a field's name or a type anywhere inside. */
export async function forms(binary, life) {
  const child = spawn(binary, ["generate", ...life], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("close", resolve));
  const found = new Map();
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line);
    const form = `${event.action} ${shape(event)}`;
    if (!found.has(form)) found.set(form, event);
  }
  const status = await ended;
  if (status !== 0) throw new Error(`the generator ended with ${status}`);
  return [...found.values()];
}

function shape(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return `[${[...new Set(value.map(shape))].sort()}]`;
  if (typeof value !== "object") return typeof value;
  return `{${Object.keys(value).sort().map((key) => `${key}:${shape(value[key])}`)}}`;
}

/** The addresses of a `Link` header by relation; an error where it does not have GitHub's form. */
export function links(header) {
  const found = {};
  for (const part of header === null ? [] : header.split(", ")) {
    const match = /^<([^<>\s]+)>; rel="(next|prev|first|last)"$/.exec(part);
    if (match === null) throw new Error(`not a link of GitHub's form: ${part}`);
    if (found[match[2]] !== undefined) throw new Error(`two links are ${match[2]}`);
    found[match[2]] = new URL(match[1]);
  }
  return found;
}
