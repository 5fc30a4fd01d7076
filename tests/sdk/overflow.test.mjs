// A client that does not read is cut, comes back, and has missed nothing.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Stage, subscribed, WEBSOCKETS } from "./clients.mjs";
import { next } from "./server.mjs";

const open = { allow_subscribe_for_client: true, allow_publish_for_client: true };
const NAMESPACES = [
  { name: "wide", ...open, presence: true, allow_presence_for_subscriber: true },
  { name: "kept", ...open, history_size: 4000, history_ttl: "10m", force_recovery: true },
];
/** Within the limit of a message. */
const PAYLOAD = "x".repeat(16 * 1024);
/** Far more than the buffers of two sockets hold. */
const PUBLICATIONS_MAX = 4000;
/** What the SDK says of a connection that ended without a Close frame. */
const TRANSPORT_CLOSED = 1;

let stage;
before(async () => {
  // A slow machine has time: nothing but the full queue ends the client.
  stage = await Stage.start(NAMESPACES, "--client-queue-max-size", "256KiB",
    "--client-recovery-max-publication-limit", String(PUBLICATIONS_MAX),
    "--websocket-write-timeout", "60s", "--websocket-close-timeout", "60s");
});
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of WEBSOCKETS) {
  test(`${format.name}: who does not read is cut, and recovers what it missed`, async () => {
    const [wide, kept] = [`wide:${format.name}`, `kept:${format.name}`];
    const [reader] = await stage.connected(format, "ann");
    await subscribed(reader, wide);
    const [subscription] = await subscribed(reader, kept);
    const [writer] = await stage.connected(format, "bob");
    const [witness] = await subscribed(writer, wide);
    const heard = [];
    subscription.on("publication", ({ data }) => heard.push(format.take(data)));

    const cut = next(reader, "connecting");
    reader.gate.socket.pause();
    let [rounds, count] = [0, 0];
    while ((await witness.presenceStats()).numClients === 2) {
      assert.ok(rounds < PUBLICATIONS_MAX, "it is cut at last");
      await writer.publish(wide, format.put(PAYLOAD));
      // What is kept is little beside what fills the queue.
      if (rounds % 10 === 0) await writer.publish(kept, format.put(count += 1));
      rounds += 1;
    }
    const back = next(subscription, "subscribed");
    reader.gate.socket.resume();
    // With unread bytes before it, a Close frame would not arrive.
    assert.ok([TRANSPORT_CLOSED, 3008].includes((await cut).code));
    const { wasRecovering, recovered } = await back;
    assert.deepEqual([wasRecovering, recovered], [true, true]);
    const last = new Promise((resolve) => {
      subscription.on("publication", ({ data }) => {
        if (format.take(data) === count + 1) resolve();
      });
    });
    await writer.publish(kept, format.put(count + 1));
    await last;
    assert.deepEqual(heard, Array.from({ length: count + 1 }, (_, at) => at + 1));
  });
}
