// A client that says nothing, kept by the server's pings; the same in both formats.

import assert from "node:assert/strict";

import WebSocket from "ws";

import { freePort, next, Server } from "./server.mjs";

const LOOK_EVERY_MS = 50;

/** Two pings are answered in time; `isPing` tells one from other messages. */
export async function keptByPings(Client, isPing) {
  // A busy machine is slow: there is time to answer.
  const own = await Server.start(await freePort(), "--dev", "--client-ping-interval", "3s",
    "--client-pong-timeout", "2900ms");
  try {
    const seen = { pings: 0 };
    class Counting extends WebSocket {
      constructor(...given) {
        super(...given);
        this.on("message", (data) => { if (isPing(data)) seen.pings += 1; });
      }
    }
    const one = new Client(own.url, { websocket: Counting });
    const opened = next(one, "connected");
    one.connect();
    await opened;
    let lost = 0;
    one.on("connecting", () => { lost += 1; });
    while (seen.pings < 3) await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    assert.equal(lost, 0, "the third ping comes only to who answered the first two");
    one.disconnect();
  } finally {
    assert.equal(await own.stop(), 0);
  }
}
