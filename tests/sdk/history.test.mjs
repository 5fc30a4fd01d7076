// What was published, read back in both formats of the JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { FORMATS, hear, publish, Stage, subscribed } from "./clients.mjs";

const kept = {
  allow_subscribe_for_client: true, allow_publish_for_client: true, history_size: 10, history_ttl: "10m",
};
const NAMESPACES = [
  { name: "read", ...kept, allow_history_for_client: true },
  { name: "long", ...kept, history_size: 400, allow_history_for_client: true },
  { name: "member", ...kept, allow_history_for_subscriber: true },
  { name: "off", allow_subscribe_for_client: true, allow_history_for_client: true },
];

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

const offsets = ({ publications }) => publications.map(({ offset }) => offset);

for (const format of FORMATS) {
  const inFormat = (channel) => `${channel}-${format.name}`;

  /** A client, and a channel in which it has published 1 to `count`, all of which have arrived. */
  async function published(channel, count) {
    const [client] = await stage.connected(format, "ann");
    const [subscription] = await subscribed(client, channel);
    const last = new Promise((resolve) => {
      subscription.on("publication", ({ offset }) => { if (offset === count) resolve(); });
    });
    await publish(format, client, channel, Array.from({ length: count }, (_, index) => index + 1));
    await last;
    return [client, subscription];
  }

  test(`${format.name}: history has data, offset and publisher, and the last place`, async () => {
    const [client] = await published(inFormat("read:all"), 3);
    const history = await client.history(inFormat("read:all"), { limit: 10 });
    assert.deepEqual(history.publications.map(({ data }) => format.take(data)), [1, 2, 3]);
    assert.deepEqual(offsets(history), [1, 2, 3]);
    assert.equal(history.publications[0].info.user, "ann");
    assert.equal(history.offset, 3);
    assert.match(history.epoch, /^[A-Za-z]{8}$/);
  });

  test(`${format.name}: a limit of none tells the place only, and one of some the oldest`, async () => {
    const channel = inFormat("read:limit");
    const [client] = await published(channel, 5);
    const top = await client.history(channel, { limit: 0 });
    assert.deepEqual([top.offset, top.publications], [5, []]);
    assert.deepEqual(offsets(await client.history(channel, { limit: 2 })), [1, 2]);
    assert.deepEqual(offsets(await client.history(channel, { limit: -1 })), [1, 2, 3, 4, 5]);
  });

  test(`${format.name}: history goes on from a place, in pages`, async () => {
    const channel = inFormat("read:since");
    const [client] = await published(channel, 5);
    const { epoch } = await client.history(channel, { limit: 0 });
    const seen = [];
    for (let offset = 0; offset < 5; offset = seen.at(-1)) {
      const page = await client.history(channel, { since: { offset, epoch }, limit: 2 });
      seen.push(...offsets(page));
    }
    assert.deepEqual(seen, [1, 2, 3, 4, 5]);
    const end = await client.history(channel, { since: { offset: 5, epoch }, limit: 2 });
    assert.deepEqual([end.offset, end.publications], [5, []]);
  });

  test(`${format.name}: history goes back from the newest, or from before a place`, async () => {
    const channel = inFormat("read:reverse");
    const [client] = await published(channel, 5);
    const newest = await client.history(channel, { limit: 2, reverse: true });
    assert.deepEqual(offsets(newest), [5, 4]);
    const since = { offset: 4, epoch: newest.epoch };
    const before = await client.history(channel, { since, limit: 2, reverse: true });
    assert.deepEqual(offsets(before), [3, 2]);
    const nowhere = { since: { offset: 0, epoch: newest.epoch }, limit: 2, reverse: true };
    await assert.rejects(client.history(channel, nowhere), { code: 107 });
  });

  test(`${format.name}: the place of another history is unrecoverable`, async () => {
    const channel = inFormat("read:epoch");
    const [client] = await published(channel, 1);
    const since = { offset: 1, epoch: "ABCDEFGH" };
    await assert.rejects(client.history(channel, { since, limit: 1 }), { code: 112 });
  });

  test(`${format.name}: so many are kept, and the places go on`, async () => {
    const channel = inFormat("read:trimmed");
    const [client] = await published(channel, 13);
    const history = await client.history(channel, { limit: -1 });
    assert.deepEqual(offsets(history), [4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    assert.equal(history.offset, 13);
  });

  test(`${format.name}: one reply has as many as the server allows`, async () => {
    const channel = inFormat("long:all");
    const [client] = await published(channel, 310);
    for (const limit of [-1, 310]) {
      const history = await client.history(channel, { limit });
      assert.equal(history.publications.length, 300);
      assert.deepEqual([history.publications[0].offset, history.offset], [1, 310]);
    }
  });

  test(`${format.name}: history is refused to who may not read it, and where there is none`, async () => {
    const [client] = await stage.connected(format, "ann");
    const channel = inFormat("member:a");
    await assert.rejects(client.history(channel, { limit: 1 }), { code: 103 });
    const [member] = await subscribed(client, channel);
    assert.deepEqual((await member.history({ limit: 1 })).publications, []);
    await assert.rejects(client.history(inFormat("off:a"), { limit: 1 }), { code: 108 });
    await assert.rejects(client.history(inFormat("nowhere:a"), { limit: 1 }), { code: 102 });
  });
}

test("what a back end publishes is kept, unless it says no", async () => {
  const [json] = FORMATS;
  const channel = "read:api";
  const [client] = await stage.connected(json, "ann");
  const [subscription] = await subscribed(client, channel);
  const heard = hear(subscription, "publication", 3);
  const cases = [["kept", 1], ["not kept", undefined], ["kept, too", 2]];
  for (const [data, offset] of cases) {
    const skip_history = offset === undefined;
    const { result } = await stage.api("publish", { channel, data, skip_history });
    assert.deepEqual([result.offset, typeof result.epoch], [offset, skip_history ? "undefined" : "string"]);
  }
  assert.deepEqual((await heard).map(({ offset }) => offset), [1, undefined, 2]);
  const { publications } = await client.history(channel, { limit: -1 });
  assert.deepEqual(publications.map(({ data }) => data), ["kept", "kept, too"]);
});
