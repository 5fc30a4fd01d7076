// A longwire server of the test's own: started on a free port, stopped by its pid.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

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
  constructor(port, child, socket) {
    this.port = port;
    this.process = child;
    this.socket = socket;
    /** The process that serves now. */
    this.pid = child.pid;
    this.url = `ws://127.0.0.1:${port}/connection/websocket`;
    this.http = `http://127.0.0.1:${port}`;
    this.log = "";
    child.stderr.on("data", (text) => { this.log += text; });
    child.stdout.on("data", (text) => { this.log += text; });
    /** All processes have ended, those too that have taken over: they have the same output. */
    this.ended = once(child, "close");
  }

  /** Starts `longwire serve` on `port` and waits until it is ready. */
  static async start(port, ...flags) {
    const socket = join(tmpdir(), `longwire-sdk-${process.pid}-${port}`);
    const listen = ["--listen", `127.0.0.1:${port}`, "--upgrade-socket", socket];
    if (!flags.includes(INTERNAL_PORT)) listen.push(INTERNAL_PORT, "off");
    const child = spawn(BINARY, ["serve", ...listen, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
    const server = new Server(port, child, socket);
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

  /** Has the binary replaced by itself, once. */
  async upgrade() {
    const asking = spawn(BINARY, ["upgrade", "--socket", this.socket]);
    let said = "";
    asking.stdout.on("data", (text) => { said += text; });
    const [code] = await once(asking, "close");
    if (code !== 0) throw new Error(`no upgrade:\n${said}\n${this.log}`);
    this.pid = Number(/done: process (\d+)/.exec(said)[1]);
  }

  /** Stops it as an operator would; resolves to the exit code of the process that was started. */
  async stop() {
    const hasLeft = this.pid !== this.process.pid;
    if (hasLeft || this.process.exitCode === null) process.kill(this.pid, "SIGTERM");
    const [code] = await this.ended;
    await rm(this.socket, { force: true });
    return code;
  }
}

/** The next `event` of an SDK object. A test that waits for ever is ended by the runner. */
export function next(emitter, event) {
  return new Promise((resolve) => emitter.once(event, resolve));
}
