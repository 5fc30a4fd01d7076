// What stands for `../server.mjs` in a page: the program that opened it starts and stops the
// servers. Pages and servers have different hosts, so that all is asked across origins.

async function ask(what, ...given) {
  const response = await fetch(`/${what}`, { method: "POST", body: JSON.stringify(given) });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

let ways = 0;

export class Server {
  constructor(port) {
    this.port = port;
    this.url = `ws://127.0.0.1:${port}/connection/websocket`;
  }

  /** Another name each time: a browser opens six connections to a host, and a stream keeps one. */
  get http() {
    ways += 1;
    return `http://way-${ways}.localhost:${this.port}`;
  }

  static async start(_port, ...flags) {
    return new Server(await ask("start", ...flags, "--client-allowed-origins", location.origin));
  }

  api(method, key, body) {
    return ask("api", this.port, method, key, body);
  }

  upgrade() {
    return ask("upgrade", this.port);
  }

  stop() {
    return ask("stop", this.port);
  }
}

/** The other side finds one. */
export async function freePort() {}

/** The next `event` of an SDK object. A test that waits for ever is ended by the runner. */
export function next(emitter, event) {
  return new Promise((resolve) => emitter.once(event, resolve));
}
