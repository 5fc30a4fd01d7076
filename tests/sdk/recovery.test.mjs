// Clients that lose their connection and come back, in both formats of the JavaScript SDK: what
// they missed is given to them, in order and once.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { drop, FORMATS, hear, letBack, publish, Stage, subscribed } from "./clients.mjs";
import { next } from "./server.mjs";

const kept = {
  allow_subscribe_for_client: true, allow_publish_for_client: true, history_size: 50, history_ttl: "10m",
};
const NAMESPACES = [
  { name: "all", ...kept, force_recovery: true },
  { name: "asked", ...kept, allow_recovery: true, allow_positioning: true },
  { name: "plain", ...kept },
  { name: "latest", ...kept, force_recovery: true, force_recovery_mode: "cache" },
  {
    name: "cached", ...kept, force_recovery: true, force_recovery_mode: "cache",
    auto_cache_recover: true,
  },
];

let stage;
before(async () => {
  stage = await Stage.start(NAMESPACES, "--client-recovery-max-publication-limit", "20");
});
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of FORMATS) {
  const inFormat = (channel) => `${channel}-${format.name}`;
  const values = (publications) => publications.map(({ data }) => format.take(data));
  const numbers = (first, last) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

  /** A subscriber, and another client that publishes and hears itself: then it is published. */
  async function pair(channel, options) {
    const [reader] = await stage.connected(format, "ann");
    const [subscription, context] = await subscribed(reader, channel, options);
    const [writer] = await stage.connected(format, "bob");
    const [witness] = await subscribed(writer, channel);
    const say = async (...all) => {
      const heard = hear(witness, "publication", all.length);
      await publish(format, writer, channel, all);
      await heard;
    };
    return { reader, subscription, context, say };
  }

  test(`${format.name}: what was missed comes first, in order, and the rest follows`, async () => {
    const channel = inFormat("all:missed");
    const { reader, subscription, context, say } = await pair(channel);
    assert.deepEqual([context.recoverable, context.positioned], [true, true]);
    assert.deepEqual([context.wasRecovering, context.recovered], [false, false]);
    const heard = hear(subscription, "publication", 12);
    const before = hear(subscription, "publication", 3);
    await say(1, 2, 3);
    await before;
    await drop(reader);
    await say(...numbers(4, 10));
    const back = next(subscription, "subscribed");
    letBack(reader);
    const { wasRecovering, recovered } = await back;
    assert.deepEqual([wasRecovering, recovered], [true, true]);
    await say(11, 12);
    const publications = await heard;
    assert.deepEqual(values(publications), numbers(1, 12));
    assert.deepEqual(publications.map(({ offset }) => offset), numbers(1, 12));
  });

  test(`${format.name}: who comes back again and again misses nothing and hears nothing twice`, async () => {
    const channel = inFormat("all:often");
    const { reader, subscription, say } = await pair(channel);
    const heard = hear(subscription, "publication", 25);
    for (let round = 0; round < 5; round += 1) {
      const first = 5 * round + 1;
      await drop(reader);
      await say(...numbers(first, first + 2));
      const back = next(subscription, "subscribed");
      letBack(reader);
      // These run beside the recovery.
      await Promise.all([back, say(...numbers(first + 3, first + 4))]);
    }
    assert.deepEqual(values(await heard), numbers(1, 25));
  });

  test(`${format.name}: who unsubscribes and comes back has what was said meanwhile`, async () => {
    const channel = inFormat("all:left");
    const { subscription, say } = await pair(channel);
    subscription.unsubscribe();
    await say(1, 2, 3);
    const heard = hear(subscription, "publication", 4);
    const back = next(subscription, "subscribed");
    subscription.subscribe();
    const { wasRecovering, recovered } = await back;
    assert.deepEqual([wasRecovering, recovered], [true, true]);
    await say(4);
    assert.deepEqual(values(await heard), [1, 2, 3, 4]);
  });

  test(`${format.name}: a channel in which nothing was published is recovered, too`, async () => {
    const { reader, subscription } = await pair(inFormat("all:quiet"));
    await drop(reader);
    const back = next(subscription, "subscribed");
    letBack(reader);
    assert.equal((await back).recovered, true);
  });

  test(`${format.name}: who missed more than is recovered at once is told so, and goes on`, async () => {
    const channel = inFormat("all:much");
    const { reader, subscription, say } = await pair(channel);
    let early = 0;
    const count = () => { early += 1; };
    subscription.on("publication", count);
    await drop(reader);
    await say(...numbers(1, 21));
    const back = next(subscription, "subscribed");
    letBack(reader);
    const { wasRecovering, recovered } = await back;
    assert.deepEqual([wasRecovering, recovered, early], [true, false, 0]);
    const heard = next(subscription, "publication");
    await say(22);
    assert.equal((await heard).offset, 22);
  });

  test(`${format.name}: a subscription recovers from the place that it is given`, async () => {
    const channel = inFormat("all:since");
    const { subscription, context, say } = await pair(channel);
    const { epoch, offset } = context.streamPosition;
    assert.equal(Number(offset), 0);
    const heard = hear(subscription, "publication", 3);
    await say(1, 2, 3);
    await heard;
    const [late] = await stage.connected(format, "cid");
    const since = late.newSubscription(channel, { since: { offset: 1, epoch } });
    const missed = hear(since, "publication", 2);
    since.subscribe();
    assert.deepEqual(values(await missed), [2, 3]);
    const [lost] = await stage.connected(format, "dan");
    const options = { since: { offset: 1, epoch: "ABCDEFGH" } };
    const [, { wasRecovering, recovered }] = await subscribed(lost, channel, options);
    assert.deepEqual([wasRecovering, recovered], [true, false]);
  });

  test(`${format.name}: what a client asks for and may have, it gets`, async () => {
    const positioned = await pair(inFormat("asked:p"), { positioned: true });
    assert.deepEqual([positioned.context.positioned, positioned.context.recoverable], [true, false]);
    const recoverable = await pair(inFormat("asked:r"), { recoverable: true });
    assert.deepEqual([recoverable.context.positioned, recoverable.context.recoverable], [true, true]);
    const silent = await pair(inFormat("asked:s"));
    assert.deepEqual([silent.context.positioned, silent.context.recoverable], [false, false]);
    const options = { positioned: true, recoverable: true };
    const plain = await pair(inFormat("plain:a"), options);
    assert.deepEqual([plain.context.positioned, plain.context.recoverable], [false, false]);
  });

  test(`${format.name}: where only the latest counts, it is all that comes back`, async () => {
    const channel = inFormat("latest:a");
    const { reader, subscription, say } = await pair(channel);
    await drop(reader);
    await say(1, 2, 3);
    const heard = hear(subscription, "publication", 2);
    const back = next(subscription, "subscribed");
    letBack(reader);
    assert.equal((await back).recovered, true);
    await say(4);
    assert.deepEqual(values(await heard), [3, 4]);
  });

  test(`${format.name}: a cache gives its latest to everybody who comes`, async () => {
    const channel = inFormat("cached:a");
    const { subscription, say } = await pair(channel);
    const heard = hear(subscription, "publication", 2);
    await say(1, 2);
    await heard;
    const [late] = await stage.connected(format, "cid");
    const fresh = late.newSubscription(channel);
    const first = next(fresh, "publication");
    fresh.subscribe();
    assert.equal(format.take((await first).data), 2);
  });
}
