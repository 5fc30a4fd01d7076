// What a client is told that may not do what it asks for, and how its connection ends, in both
// formats of the JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { FORMATS, refused, sign, Stage, subscribed } from "./clients.mjs";
import { next } from "./server.mjs";

const NAMESPACES = [
  { name: "open", allow_subscribe_for_client: true },
  { name: "shut" },
  { name: "dialog", allow_user_limited_channels: true },
  { name: "talk", allow_subscribe_for_client: true, allow_publish_for_subscriber: true },
  { name: "named", allow_subscribe_for_client: true, channel_regex: "^[a-zé]+$" },
  {
    name: "object", allow_publish_for_client: true, publication_data_format: "json_object",
  },
];

let stage;
before(async () => { stage = await Stage.start(NAMESPACES, "--client-channel-limit", "3"); });
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of FORMATS) {
  test(`${format.name}: a subscription is refused with the code of what is wrong`, async () => {
    const [client] = await stage.connected(format, "ann");
    for (const [channel, code] of [
      ["nowhere:a", 102], ["shut:a", 103], ["$open:a", 103], ["plain", 103], ["open:é", 107],
      ["named:A", 107], ["dialog:a#bob", 103],
    ]) {
      assert.equal((await refused(client, channel)).code, code, channel);
    }
    assert.equal(client.state, "connected");
  });

  test(`${format.name}: names may be limited to users, and to a pattern`, async () => {
    const [client] = await stage.connected(format, "ann");
    await subscribed(client, "dialog:a#bob,ann");
    await subscribed(client, "named:é");
  });

  test(`${format.name}: a client may be in so many channels`, async () => {
    const [client] = await stage.connected(format, "ann");
    const [first] = await subscribed(client, "open:1");
    await subscribed(client, "open:2");
    await subscribed(client, "open:3");
    assert.equal((await refused(client, "open:4")).code, 106);
    first.unsubscribe();
    await subscribed(client, "open:5");
  });

  test(`${format.name}: only a member may publish where it is so`, async () => {
    const [client] = await stage.connected(format, "ann");
    const channel = `talk:${format.name}`;
    await assert.rejects(client.publish(channel, format.put(1)), { code: 103 });
    const [subscription] = await subscribed(client, channel);
    const heard = next(subscription, "publication");
    await subscription.publish(format.put(1));
    assert.equal(format.take((await heard).data), 1);
  });

  test(`${format.name}: what is published has the format that its channel asks for`, async () => {
    const [client] = await stage.connected(format, "ann");
    await client.publish("object:a", format.put({ a: 1 }));
    await assert.rejects(client.publish("object:a", format.put(1)), { code: 107 });
  });

  test(`${format.name}: a message to a back end that is not there ends the connection`, async () => {
    const [client] = await stage.connected(format, "ann");
    const ended = next(client, "disconnected");
    client.send(format.put(1)).catch(() => {});
    assert.equal((await ended).code, 3508);
  });

  test(`${format.name}: a subscription token is not taken for granted`, async () => {
    const [client] = await stage.connected(format, "ann");
    const token = sign({ sub: "ann", channel: "shut:a" }, "the key of somebody else");
    assert.equal((await refused(client, "shut:a", { token })).code, 103);
  });
}

test("who has no token is told so", async () => {
  const [format] = FORMATS;
  const client = stage.client(format, "ann");
  client.setToken("");
  const ended = next(client, "disconnected");
  client.connect();
  assert.equal((await ended).code, 3501);
});
