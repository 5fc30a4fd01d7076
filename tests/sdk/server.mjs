// A longwire server of the test's own: started on a free port, stopped by its pid.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

const BINARY = process.env.LONGWIRE;
const START_DEADLINE_MS = 30_000;
const LOOK_EVERY_MS = 50;

if (!BINARY) throw new Error("LONGWIRE names no binary: run tests/sdk/run");

/** Off, unless a test asks for it. */
export const INTERNAL_PORT = "--http-server-internal-port";

/** Below the ports that the kernel gives to clients, so that none takes it before a server does. */
const PORTS = { first: 10_000, count: 20_000 };
const PORT_TRIES_MAX = 100;

/** A free port that a server can also come back on. */
export async function freePort() {
  for (let tries = 0; tries < PORT_TRIES_MAX; tries += 1) {
    const port = PORTS.first + Math.floor(Math.random() * PORTS.count);
    const probe = createServer().listen(port, "127.0.0.1");
    const isFree = await new Promise((resolve) => {
      probe.once("listening", () => resolve(true));
      probe.once("error", () => resolve(false));
    });
    if (!isFree) continue;
    probe.close();
    await once(probe, "close");
    return port;
  }
  throw new Error(`no free port in ${PORT_TRIES_MAX} tries`);
}

export class Server {
  constructor(port, process) {
    this.port = port;
    this.process = process;
    this.url = `ws://127.0.0.1:${port}/connection/websocket`;
    this.http = `http://127.0.0.1:${port}`;
    this.log = "";
    process.stderr.on("data", (text) => { this.log += text; });
    process.stdout.on("data", (text) => { this.log += text; });
  }

  /** Starts `longwire serve` on `port` and waits until it is ready. */
  static async start(port, ...flags) {
    const listen = ["--listen", `127.0.0.1:${port}`];
    if (!flags.includes(INTERNAL_PORT)) listen.push(INTERNAL_PORT, "off");
    const child = spawn(BINARY, ["serve", ...listen, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
    const server = new Server(port, child);
    const deadline = Date.now() + START_DEADLINE_MS;
    while (!(await server.isReady())) {
      if (child.exitCode !== null || Date.now() > deadline) {
        throw new Error(`longwire serve did not start:\n${server.log}`);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
    return server;
  }

  async isReady() {
    try {
      return (await fetch(`${this.http}/health/ready`)).ok;
    } catch {
      return false;
    }
  }

  /** What the API answers to who has this key. */
  async api(method, key, body) {
    const response = await fetch(`${this.http}/api/${method}`, {
      method: "POST", headers: { "X-API-Key": key }, body: JSON.stringify(body),
    });
    return response.json();
  }

  /** Stops it as an operator would; resolves to its exit code. */
  async stop() {
    if (this.process.exitCode !== null) return this.process.exitCode;
    const ended = once(this.process, "exit");
    this.process.kill("SIGTERM");
    const [code] = await ended;
    return code;
  }
}

/** The next `event` of an SDK object. A test that waits for ever is ended by the runner. */
export function next(emitter, event) {
  return new Promise((resolve) => emitter.once(event, resolve));
}
