// Subscriptions that take deltas, in both formats of the JavaScript SDK, whose own decoder puts the
// publications together again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { drop, FORMATS, hear, letBack, publish, Stage, subscribed } from "./clients.mjs";
import { next } from "./server.mjs";

const kept = {
  allow_subscribe_for_client: true, allow_publish_for_client: true, history_size: 50, history_ttl: "10m",
};
const NAMESPACES = [
  { name: "all", ...kept, force_recovery: true, allowed_delta_types: ["fossil"], delta_publish: true },
  { name: "marked", ...kept, force_recovery: true, allowed_delta_types: ["fossil"] },
  { name: "none", ...kept, force_recovery: true },
  { name: "unknown", ...kept, allowed_delta_types: ["fossil"], delta_publish: true },
];

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

const DELTAS = { delta: "fossil" };

/** A document of a few kilobytes in all scripts, of which one number changes. */
const document = (number) => ({
  title: "größe – 日本語 – 🙂", rows: Array.from({ length: 60 }, (_, at) => `row ${at * 7919} \u{1f600} ü`),
  number, more: "\"quoted\" and \\ escaped\n".repeat(20),
});

for (const format of FORMATS) {
  const inFormat = (channel) => `${channel}-${format.name}`;
  const values = (publications) => publications.map(({ data }) => format.take(data));

  async function pair(channel, options = DELTAS) {
    const [reader] = await stage.connected(format, "ann");
    const [subscription] = await subscribed(reader, channel, options);
    const [writer] = await stage.connected(format, "bob");
    return { reader, subscription, writer };
  }

  test(`${format.name}: the first is whole, and the others come as what they differ by`, async () => {
    const { subscription, writer } = await pair(inFormat("all:documents"));
    const heard = hear(subscription, "publication", 5);
    const all = [1, 2, 3, 4, 5].map(document);
    await publish(format, writer, inFormat("all:documents"), all);
    assert.deepEqual(values(await heard), all);
    const { numFullPayloads, numDeltaPayloads, bytesReceived, bytesDecoded } = subscription.deltaStats();
    assert.deepEqual([numFullPayloads, numDeltaPayloads], [1, 4]);
    assert.ok(bytesReceived * 3 < bytesDecoded, `${bytesReceived} of ${bytesDecoded}`);
  });

  test(`${format.name}: what has no shorter delta is said whole, and the next compared with it`, async () => {
    const { subscription, writer } = await pair(inFormat("all:mixed"));
    const all = [document(1), 7, "x", document(2), document(3), document(3)];
    const heard = hear(subscription, "publication", all.length);
    await publish(format, writer, inFormat("all:mixed"), all);
    assert.deepEqual(values(await heard), all);
    assert.equal(subscription.deltaStats().numDeltaPayloads, 2);
  });

  test(`${format.name}: who comes later, and who takes none, hear the same`, async () => {
    const channel = inFormat("all:crowd");
    const { subscription, writer } = await pair(channel);
    const [plain] = await stage.connected(format, "cleo");
    const [whole] = await subscribed(plain, channel);
    const [other] = await stage.connected(FORMATS.find((one) => one !== format), "dan");
    const [crossed] = await subscribed(other, channel, DELTAS);
    const heard = [subscription, whole].map((one) => hear(one, "publication", 4));
    await publish(format, writer, channel, [1, 2].map(document));
    const [late] = await stage.connected(format, "eve");
    const [later] = await subscribed(late, channel, DELTAS);
    const heardLater = hear(later, "publication", 2);
    await publish(format, writer, channel, [3, 4].map(document));
    assert.deepEqual(values(await heard[0]), [1, 2, 3, 4].map(document));
    assert.deepEqual(values(await heard[1]), [1, 2, 3, 4].map(document));
    assert.deepEqual(values(await heardLater), [3, 4].map(document));
    assert.equal(later.deltaStats().numDeltaPayloads, 1);
    // The home learns that both formats are read from the first translation; from then on deltas
    // are made in both.
    for (let number = 5; crossed.deltaStats().numDeltaPayloads < 2; number += 1) {
      const next = hear(crossed, "publication", 1);
      await publish(format, writer, channel, [document(number)]);
      await next;
    }
  });

  test(`${format.name}: what was missed is recovered as deltas, and the rest follows`, async () => {
    const channel = inFormat("all:missed");
    const { reader, subscription, writer } = await pair(channel);
    const heard = hear(subscription, "publication", 8);
    const before = hear(subscription, "publication", 2);
    await publish(format, writer, channel, [1, 2].map(document));
    await before;
    await drop(reader);
    await publish(format, writer, channel, [3, 4, 5].map(document));
    const back = next(subscription, "subscribed");
    letBack(reader);
    assert.equal((await back).recovered, true);
    await publish(format, writer, channel, [6, 7, 8].map(document));
    assert.deepEqual(values(await heard), [1, 2, 3, 4, 5, 6, 7, 8].map(document));
    // Whole are the first, the first of those recovered, and the first behind them.
    assert.equal(subscription.deltaStats().numFullPayloads, 3);
  });

  test(`${format.name}: who unsubscribes and comes back recovers deltas, too`, async () => {
    const channel = inFormat("all:left");
    const { subscription, writer } = await pair(channel);
    const heard = hear(subscription, "publication", 5);
    const before = hear(subscription, "publication", 2);
    await publish(format, writer, channel, [1, 2].map(document));
    await before;
    subscription.unsubscribe();
    await publish(format, writer, channel, [3, 4].map(document));
    const back = next(subscription, "subscribed");
    subscription.subscribe();
    assert.equal((await back).recovered, true);
    await publish(format, writer, channel, [document(5)]);
    assert.deepEqual(values(await heard), [1, 2, 3, 4, 5].map(document));
    assert.ok(subscription.deltaStats().numDeltaPayloads >= 2, "one before, and one that was missed");
  });

  test(`${format.name}: only what is marked is compared where the namespace does not say`, async () => {
    const channel = inFormat("marked:some");
    const { subscription } = await pair(channel);
    const heard = hear(subscription, "publication", 4);
    for (const [number, delta] of [[1, true], [2, false], [3, true], [4, true]]) {
      const answer = await stage.api("publish", { channel, data: document(number), delta });
      assert.equal(answer.error, undefined);
    }
    assert.deepEqual(values(await heard), [1, 2, 3, 4].map(document));
    assert.equal(subscription.deltaStats().numDeltaPayloads, 2, "of those after the first, two");
  });

  test(`${format.name}: a subscription without a position, or where none are allowed, gets none`, async () => {
    for (const channel of ["none:a", "unknown:a"].map(inFormat)) {
      const { subscription, writer } = await pair(channel);
      const heard = hear(subscription, "publication", 2);
      await publish(format, writer, channel, [1, 2].map(document));
      assert.deepEqual(values(await heard), [1, 2].map(document));
      assert.equal(subscription.deltaStats().numPublications, 0, "it was not granted");
    }
  });
}
