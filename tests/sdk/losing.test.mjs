// Subscriptions that the server ends, and channels in which a slow client misses some.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Stage, subscribed, WEBSOCKETS } from "./clients.mjs";
import { next } from "./server.mjs";

const open = { allow_subscribe_for_client: true, allow_publish_for_client: true };
const kept = { ...open, history_size: 4000, history_ttl: "10m", force_recovery: true };
const NAMESPACES = [
  { name: "kept", ...kept },
  { name: "lossy", ...open, overflow: "drop_oldest" },
  { name: "latest", ...open, overflow: "latest" },
];
const PAYLOAD = "x".repeat(16 * 1024);
/** With this payload more than may wait on one channel, in one message. */
const BURST = 60;
const BURSTS_MAX = 200;
/** With this payload more than the buffers of two sockets hold. */
const PUBLICATIONS = 1500;
const LOOK_EVERY_MS = 50;

let stage;
before(async () => {
  stage = await Stage.start(NAMESPACES,
    "--client-recovery-max-publication-limit", "4000",
    "--client-queue-max-size", "16MiB", "--websocket-message-size-limit", "4MiB",
    "--websocket-write-timeout", "60s");
});
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of WEBSOCKETS) {
  const say = (number) => format.put({ number, payload: PAYLOAD });
  const numbers = (count) => Array.from({ length: count }, (_, at) => at + 1);

  /** Publishes numbers up to `last` in one message. */
  async function burst(writer, channel, first, last) {
    writer.startBatching();
    const all = [];
    for (let at = first; at <= last; at += 1) all.push(writer.publish(channel, say(at)));
    writer.stopBatching();
    await Promise.all(all);
  }

  test(`${format.name}: who is unsubscribed by a back end hears 2000 and stays connected`, async () => {
    const channel = `kept:out-${format.name}`;
    const user = `out-${format.name}`;
    const [reader] = await stage.connected(format, user);
    const [subscription] = await subscribed(reader, channel);
    const ended = next(subscription, "unsubscribed");
    assert.deepEqual(await stage.api("unsubscribe", { user, channel }), { result: {} });
    const { code, reason } = await ended;
    assert.deepEqual([code, reason], [2000, "server unsubscribe"]);
    assert.deepEqual([subscription.state, reader.state], ["unsubscribed", "connected"]);
  });

  test(`${format.name}: who missed something hears 2500, comes back and has all of it`, async () => {
    const channel = `kept:gap-${format.name}`;
    const [reader] = await stage.connected(format, "ann");
    const [subscription] = await subscribed(reader, channel);
    const [writer] = await stage.connected(format, "bob");
    const heard = [];
    const lost = [];
    let [count, last] = [0, Infinity];
    const done = new Promise((resolve) => {
      subscription.on("publication", ({ data }) => {
        heard.push(format.take(data).number);
        if (heard.at(-1) === last) resolve();
      });
    });
    subscription.on("subscribing", (context) => lost.push(context));
    const back = next(subscription, "subscribed");
    // Whether a burst is more than a shard can queue depends on where its turns end.
    for (let bursts = 0; lost.length === 0; bursts += 1) {
      assert.ok(bursts < BURSTS_MAX, "something is missed at last");
      await burst(writer, channel, count + 1, count + BURST);
      count += BURST;
    }
    assert.equal(lost[0].code, 2500);
    const { wasRecovering, recovered } = await back;
    assert.deepEqual([wasRecovering, recovered], [true, true]);
    last = count + 1;
    await writer.publish(channel, say(last));
    await done;
    assert.deepEqual(heard, numbers(last));
    assert.equal(reader.state, "connected");
  });

  for (const namespace of ["lossy", "latest"]) {
    test(`${format.name}: with ${namespace}, who does not read stays, and hears on`, async () => {
      const channel = `${namespace}:${format.name}`;
      const [reader] = await stage.connected(format, "ann");
      const [subscription] = await subscribed(reader, channel);
      const [writer] = await stage.connected(format, "bob");
      const heard = [];
      subscription.on("publication", ({ data }) => heard.push(format.take(data).number));
      let losses = 0;
      reader.on("connecting", () => { losses += 1; });
      subscription.on("subscribing", () => { losses += 1; });
      reader.gate.socket.pause();
      let count = 0;
      while (count < PUBLICATIONS) await writer.publish(channel, say(count += 1));
      reader.gate.socket.resume();
      // Where nothing is kept, what finds no place in a shard's queue is lost: who publishes as
      // fast as this while that shard stands still hears of it by the next.
      while (!(heard.at(-1) > PUBLICATIONS)) {
        await writer.publish(channel, say(count += 1));
        await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      }
      assert.ok(heard.every((number, at) => at === 0 || number > heard[at - 1]), "in order");
      assert.ok(heard.length < PUBLICATIONS, "it missed some");
      assert.deepEqual([losses, reader.state, subscription.state], [0, "connected", "subscribed"]);
    });
  }
}
