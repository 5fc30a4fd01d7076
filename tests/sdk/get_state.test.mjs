// Subscriptions whose application loads a state with its place, and goes on from there: getState
// of the official JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { drop, FORMATS, hear, letBack, publish, Stage, subscribed } from "./clients.mjs";
import { next } from "./server.mjs";

const kept = {
  allow_subscribe_for_client: true, allow_publish_for_client: true, allow_history_for_client: true,
  history_ttl: "10m", force_recovery: true,
};
const NAMESPACES = [{ name: "long", ...kept, history_size: 50 }, { name: "short", ...kept, history_size: 2 }];
const SOON = { minResubscribeDelay: 20, maxResubscribeDelay: 20 };
const FAILURES = 4;

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of FORMATS) {
  const channel = (name) => `${name}-${format.name}`;
  const values = (publications) => publications.map(({ data }) => format.take(data));

  /** A writer, and a reader that has not subscribed yet. */
  async function pair() {
    const [writer] = await stage.connected(format, "bob");
    const [reader] = await stage.connected(format, "ann");
    return { writer, reader };
  }

  /** Where a channel stands: what a back end would keep beside its data. */
  async function placeOf(client, name) {
    const { offset, epoch } = await client.history(name, { limit: 0 });
    return { offset, epoch };
  }

  test(`${format.name}: from no place on, all that is kept comes`, async () => {
    const { writer, reader } = await pair();
    const name = channel("long:fresh");
    await publish(format, writer, name, [1, 2, 3]);
    let loads = 0;
    const getState = async () => {
      loads += 1;
      return { offset: 0, epoch: "" };
    };
    const subscription = reader.newSubscription(name, { getState });
    const heard = hear(subscription, "publication", 3);
    subscription.subscribe();
    assert.deepEqual(values(await heard), [1, 2, 3]);
    assert.equal(loads, 1);
  });

  test(`${format.name}: from the place of the state on, the rest comes`, async () => {
    const { writer, reader } = await pair();
    const name = channel("long:middle");
    await publish(format, writer, name, [1, 2]);
    const place = await placeOf(writer, name);
    await publish(format, writer, name, [3, 4]);
    const subscription = reader.newSubscription(name, { getState: async () => place });
    const heard = hear(subscription, "publication", 3);
    subscription.subscribe();
    await subscription.ready();
    await publish(format, writer, name, [5]);
    assert.deepEqual(values(await heard), [3, 4, 5]);
  });

  test(`${format.name}: what was missed is recovered without loading again`, async () => {
    const { writer, reader } = await pair();
    const name = channel("long:missed");
    let loads = 0;
    const getState = async () => {
      loads += 1;
      return placeOf(writer, name);
    };
    const [subscription] = await subscribed(reader, name, { getState });
    await drop(reader);
    await publish(format, writer, name, [1, 2]);
    const heard = hear(subscription, "publication", 2);
    const back = next(subscription, "subscribed");
    letBack(reader);
    assert.equal((await back).recovered, true);
    assert.deepEqual(values(await heard), [1, 2]);
    assert.equal(loads, 1);
  });

  test(`${format.name}: who cannot be caught up loads again, and goes on from there`, async () => {
    const { writer, reader } = await pair();
    const name = channel("short:lost");
    const places = [];
    const getState = async () => {
      places.push(await placeOf(writer, name));
      return places.at(-1);
    };
    const [subscription] = await subscribed(reader, name, { ...SOON, getState });
    await publish(format, writer, name, [1]);
    await drop(reader);
    await publish(format, writer, name, [2, 3, 4, 5]);
    const back = next(subscription, "subscribed");
    letBack(reader);
    await back;
    assert.deepEqual(places.map(({ offset }) => offset), [0, 5], "once more, and no oftener");
    const heard = next(subscription, "publication");
    await publish(format, writer, name, [6]);
    const { offset, data } = await heard;
    assert.deepEqual([offset, format.take(data)], [6, 6]);
  });

  test(`${format.name}: a place that never was is lost, too`, async () => {
    const { writer, reader } = await pair();
    const name = channel("long:never");
    await publish(format, writer, name, [1]);
    const place = await placeOf(writer, name);
    let loads = 0;
    const getState = async () => {
      loads += 1;
      return loads === 1 ? { ...place, offset: 9 } : place;
    };
    const [, { recovered }] = await subscribed(reader, name, { ...SOON, getState });
    assert.deepEqual([loads, recovered], [2, true]);
  });

  test(`${format.name}: who cannot load its state tries again, and stays outside till then`, async () => {
    const { writer, reader } = await pair();
    const name = channel("long:failing");
    let loads = 0;
    const getState = async () => {
      loads += 1;
      if (loads <= FAILURES) throw new Error("no state yet");
      return placeOf(writer, name);
    };
    const subscription = reader.newSubscription(name, { ...SOON, getState });
    const states = [];
    subscription.on("state", ({ newState }) => states.push(newState));
    const errors = hear(subscription, "error", FAILURES);
    subscription.subscribe();
    for (const { error } of await errors) assert.match(error.message, /no state yet/);
    await subscription.ready();
    assert.deepEqual([loads, states], [FAILURES + 1, ["subscribing", "subscribed"]]);
  });
}
