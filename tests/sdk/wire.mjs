// The way from a client to its server, which can be cut as a network is.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** The way to a server, which can be cut. */
export class Wire {
  static async to(port) {
    const wire = new Wire();
    wire.isOpen = true;
    wire.ends = new Set();
    wire.server = createServer((socket) => wire.accept(socket, port)).listen(0, "127.0.0.1");
    await once(wire.server, "listening");
    wire.port = wire.server.address().port;
    return wire;
  }

  accept(socket, port) {
    if (!this.isOpen) return socket.destroy();
    const there = connect(port, "127.0.0.1");
    for (const [end, other] of [[socket, there], [there, socket]]) {
      this.ends.add(end);
      end.on("error", () => {});
      end.on("close", () => { this.ends.delete(end); other.destroy(); });
      end.pipe(other);
    }
  }

  cut() {
    this.isOpen = false;
    for (const end of this.ends) end.destroy();
  }

  mend() {
    this.isOpen = true;
  }
}
