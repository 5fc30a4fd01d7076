// Subscriptions that name a filter by tags, in both formats of the JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { drop, FORMATS, hear, letBack, refused, Stage, subscribed } from "./clients.mjs";
import { next } from "./server.mjs";

const kept = { allow_subscribe_for_client: true, history_size: 50, history_ttl: "10m" };
const NAMESPACES = [
  { name: "tagged", ...kept, force_recovery: true, allow_tags_filter: true },
  { name: "plain", allow_subscribe_for_client: true, allow_tags_filter: true },
  { name: "closed", ...kept },
];

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

async function say(channel, ...all) {
  for (const [data, tags] of all) {
    const answer = await stage.api("publish", { channel, data, tags });
    assert.equal(answer.error, undefined);
  }
}

const HOT = { key: "heat", cmp: "gt", val: "20" };
const END = [99, { heat: "99" }];

for (const format of FORMATS) {
  const inFormat = (channel) => `${channel}-${format.name}`;
  const values = (publications) => publications.map(({ data }) => format.take(data));

  for (const namespace of ["tagged", "plain"]) {
    test(`${format.name}: ${namespace}: each hears what its filter admits`, async () => {
      const channel = inFormat(`${namespace}:heat`);
      const filters = [
        [HOT, [1, 3, 99]],
        [{ op: "not", nodes: [HOT] }, [0, 2]],
        [{ op: "and", nodes: [HOT, { key: "place", cmp: "in", vals: ["roof", "yard"] }] }, [3]],
        [{ op: "or", nodes: [{ key: "place", cmp: "ex" }, { key: "heat", cmp: "eq", val: "99" }] }, [3, 99]],
        [{ key: "place", cmp: "nex" }, [0, 1, 2, 99]],
      ];
      const listeners = await Promise.all(filters.map(async ([tagsFilter, expected], at) => {
        const [client] = await stage.connected(format, `user ${at}`);
        const [subscription] = await subscribed(client, channel, { tagsFilter });
        return { heard: hear(subscription, "publication", expected.length) };
      }));
      const all = [[0, {}], [1, { heat: "20.5" }], [2, { heat: "x" }], [3, { heat: "100", place: "roof" }], END];
      await say(channel, ...all);
      for (const [at, { heard }] of listeners.entries()) {
        const [filter, expected] = filters[at];
        assert.deepEqual(values(await heard), expected, JSON.stringify(filter));
      }
    });
  }

  test(`${format.name}: a filter holds for what is recovered, too, and the position moves on`, async () => {
    const channel = inFormat("tagged:recovered");
    const [reader] = await stage.connected(format, "ann");
    const [subscription] = await subscribed(reader, channel, { tagsFilter: HOT });
    const heard = hear(subscription, "publication", 4);
    const first = next(subscription, "publication");
    await say(channel, [1, { heat: "30" }], [2, { heat: "1" }]);
    await first;
    await drop(reader);
    await say(channel, [3, { heat: "40" }], [4, { heat: "2" }], [5, { heat: "50" }]);
    const back = next(subscription, "subscribed");
    letBack(reader);
    const { recovered } = await back;
    assert.equal(recovered, true);
    await say(channel, END);
    const publications = await heard;
    assert.deepEqual(values(publications), [1, 3, 5, 99]);
    assert.deepEqual(publications.map(({ offset }) => offset), [1, 3, 5, 6]);
  });

  test(`${format.name}: a filter that is set later holds from the next subscribe on`, async () => {
    const channel = inFormat("plain:later");
    const [client] = await stage.connected(format, "ann");
    const options = { tagsFilter: { key: "heat", cmp: "nex" } };
    const [subscription] = await subscribed(client, channel, options);
    subscription.setTagsFilter(HOT);
    subscription.unsubscribe();
    subscription.subscribe();
    await subscription.ready();
    const heard = hear(subscription, "publication", 2);
    await say(channel, [0, {}], [1, { heat: "30" }], END);
    assert.deepEqual(values(await heard), [1, 99]);
  });

  test(`${format.name}: what cannot be asked, or must not, is refused`, async () => {
    const [client] = await stage.connected(format, "ann");
    for (const [channel, tagsFilter] of [
      ["closed:a", HOT],
      ["tagged:a", { key: "heat", cmp: "like", val: "20" }],
      ["tagged:b", { op: "xor", nodes: [HOT] }],
      ["tagged:c", { key: "heat", cmp: "eq", val: "x".repeat(5000) }],
    ]) {
      const { code } = await refused(client, inFormat(channel), { tagsFilter });
      assert.equal(code, 107, channel);
    }
  });
}
