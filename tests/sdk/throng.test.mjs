// Many clients of the official JavaScript SDK that come and go while others publish, and one that
// is cut off again and again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { FORMATS, publish, Stage, subscribed } from "./clients.mjs";
import { next } from "./server.mjs";

const NAMESPACES = [{
  name: "all", allow_subscribe_for_client: true, allow_publish_for_client: true,
  presence: true, allow_presence_for_client: true,
  history_size: 5000, history_ttl: "10m", force_recovery: true,
}];
const CLIENTS = 30;
const PUBLICATIONS_MIN = 200;
const CUTS = 15;
const HANDLER_MS = 5;

let stage;
before(async () => {
  stage = await Stage.start(NAMESPACES, "--client-recovery-max-publication-limit", "5000");
});
after(async () => { assert.equal(await stage.end(), 0); });

/** When a client leaves. Of five, one leaves at each of these moments, and one stays. */
const MOMENTS = [
  (client) => client.disconnect(),
  (client) => client.once("connected", () => client.disconnect()),
  (client, subscription) => subscription.once("subscribed", () => client.disconnect()),
  (client, subscription) => subscription.once("publication", () => client.disconnect()),
];

/** A handler that holds everything up for a while. */
function dawdle() {
  const end = performance.now() + HANDLER_MS;
  while (performance.now() < end);
}

for (const format of FORMATS) {
  const channel = (name) => `all:${name}-${format.name}`;

  /** A client on its way into two channels; what it hears of the first, as long as it stays. */
  function comer(number) {
    const client = stage.client(format, `user ${number}`);
    const subscription = client.newSubscription(channel("busy"));
    const other = client.newSubscription(channel("other"));
    const heard = [];
    subscription.on("publication", ({ data }) => heard.push(format.take(data)));
    subscription.subscribe();
    other.subscribe();
    client.connect();
    const moment = MOMENTS[number % (MOMENTS.length + 1)];
    const stays = moment === undefined;
    const settled = stays
      ? Promise.all([subscription.ready(), other.ready()])
      : next(client, "disconnected");
    moment?.(client, subscription);
    return { subscription, heard, stays, settled };
  }

  test(`${format.name}: while some come and go, those who stay miss nothing`, async () => {
    const [writer] = await stage.connected(format, "writer");
    let [count, isDone] = [0, false];
    const say = async () => publish(format, writer, channel("busy"), [count += 1]);
    const writing = (async () => { while (!isDone || count < PUBLICATIONS_MIN) await say(); })();
    const all = Array.from({ length: CLIENTS }, (_, number) => comer(number));
    const staying = all.filter(({ stays }) => stays);
    // It goes on until all have come, and those have left that wait for a publication to do so.
    await Promise.all(all.map(({ settled }) => settled));
    isDone = true;
    await writing;
    const last = count + 1;
    const ends = staying.map(({ subscription }) => new Promise((resolve) => {
      subscription.on("publication", ({ data }) => { if (format.take(data) === last) resolve(); });
    }));
    await say();
    await Promise.all(ends);
    for (const { heard } of all) {
      const run = heard.map((_, at) => heard[0] + at);
      assert.deepEqual(heard, run, "without a gap from the first on");
    }
    // What they said last may still be on its way.
    let numClients;
    do ({ numClients } = await writer.presenceStats(channel("busy"))); while (numClients > staying.length);
    assert.equal(numClients, staying.length);
  });

  test(`${format.name}: who is cut off comes back as often, once each, with its channel`, async () => {
    const client = stage.client(format, "ann");
    const counts = { connecting: 0, connected: 0, subscribing: 0, subscribed: 0 };
    const subscription = client.newSubscription(channel("cut"));
    for (const [emitter, event] of [
      [client, "connecting"], [client, "connected"],
      [subscription, "subscribing"], [subscription, "subscribed"],
    ]) emitter.on(event, () => { counts[event] += 1; dawdle(); });
    let back = next(subscription, "subscribed");
    subscription.subscribe();
    client.connect();
    await back;
    for (let cut = 0; cut < CUTS; cut += 1) {
      back = next(subscription, "subscribed");
      client.gate.cut();
      client.gate.isOpen = true;
      await back;
    }
    const times = CUTS + 1;
    assert.deepEqual(counts, {
      connecting: times, connected: times, subscribing: times, subscribed: times,
    });
    const heard = next(subscription, "publication");
    await subscription.publish(format.put(7));
    assert.equal(format.take((await heard).data), 7);
  });
}
