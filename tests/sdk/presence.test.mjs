// Who is in a channel, and who comes and goes, in both formats of the JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { FORMATS, hear, Stage, subscribed } from "./clients.mjs";
import { next } from "./server.mjs";

const open = { allow_subscribe_for_client: true, presence: true };
const NAMESPACES = [
  { name: "seen", ...open, allow_presence_for_subscriber: true },
  { name: "hidden", ...open },
  { name: "off", allow_subscribe_for_client: true, allow_presence_for_client: true },
  { name: "told", ...open, join_leave: true, allow_presence_for_subscriber: true },
  { name: "forced", ...open, join_leave: true, force_push_join_leave: true },
];

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of FORMATS) {
  const inFormat = (channel) => `${channel}-${format.name}`;

  test(`${format.name}: presence names every client in the channel, with its info`, async () => {
    const channel = inFormat("seen:all");
    const claims = { sub: "ann", info: { name: "Ann" } };
    const [ann, { client: annId }] = await stage.connected(format, claims);
    const [bob, { client: bobId }] = await stage.connected(format, "bob");
    await subscribed(ann, channel);
    const [subscription] = await subscribed(bob, channel);
    const { clients } = await subscription.presence();
    assert.deepEqual(Object.keys(clients).sort(), [annId, bobId].sort());
    assert.equal(clients[annId].user, "ann");
    assert.equal(clients[annId].client, annId);
    assert.deepEqual(format.take(clients[annId].connInfo), { name: "Ann" });
    assert.equal(clients[bobId].user, "bob");
  });

  test(`${format.name}: presence stats count clients, and users once`, async () => {
    const channel = inFormat("seen:count");
    const members = await Promise.all(["ann", "ann", "bob"].map(async (user) => {
      const [client] = await stage.connected(format, user);
      return subscribed(client, channel);
    }));
    assert.deepEqual(await members[0][0].presenceStats(), { numClients: 3, numUsers: 2 });
  });

  test(`${format.name}: who has left is present no more`, async () => {
    const channel = inFormat("seen:left");
    const [stays] = await stage.connected(format, "ann");
    const [leaves] = await stage.connected(format, "bob");
    const [goes] = await stage.connected(format, "cid");
    const [subscription] = await subscribed(stays, channel);
    const [left] = await subscribed(leaves, channel);
    await subscribed(goes, channel);
    left.unsubscribe();
    goes.disconnect();
    // What a client says last may still be on its way.
    let numClients;
    do ({ numClients } = await subscription.presenceStats()); while (numClients > 1);
    const { clients } = await subscription.presence();
    assert.deepEqual(Object.values(clients).map(({ user }) => user), ["ann"]);
  });

  test(`${format.name}: presence is refused to who may not ask, and where there is none`, async () => {
    const [client] = await stage.connected(format, "ann");
    await assert.rejects(client.presence(inFormat("seen:others")), { code: 103 });
    const [hidden] = await subscribed(client, inFormat("hidden:a"));
    await assert.rejects(hidden.presence(), { code: 103 });
    await assert.rejects(hidden.presenceStats(), { code: 103 });
    await assert.rejects(client.presence(inFormat("off:a")), { code: 108 });
    await assert.rejects(client.presenceStats(inFormat("off:a")), { code: 108 });
    await assert.rejects(client.presence(inFormat("nowhere:a")), { code: 102 });
  });

  test(`${format.name}: who asks for it is told who comes and who leaves`, async () => {
    const channel = inFormat("told:a");
    const [ann] = await stage.connected(format, "ann");
    const [subscription] = await subscribed(ann, channel, { joinLeave: true });
    const joined = new Promise((resolve) => {
      subscription.on("join", ({ info }) => { if (info.user === "bob") resolve(info); });
    });
    const [bob, { client: bobId }] = await stage.connected(format, "bob");
    const [there] = await subscribed(bob, channel);
    assert.equal((await joined).client, bobId);
    const left = next(subscription, "leave");
    there.unsubscribe();
    assert.deepEqual([(await left).info.user, (await left).info.client], ["bob", bobId]);
  });

  test(`${format.name}: everybody is told where it is forced, and nobody who does not ask else`, async () => {
    const [forced, told] = [inFormat("forced:a"), inFormat("told:silent")];
    const [ann] = await stage.connected(format, "ann");
    const [here] = await subscribed(ann, forced);
    const [silent] = await subscribed(ann, told);
    let unasked = 0;
    silent.on("join", () => { unasked += 1; });
    silent.on("leave", () => { unasked += 1; });
    const [bob] = await stage.connected(format, "bob");
    await subscribed(bob, told);
    const leaves = hear(here, "leave", 1);
    await subscribed(bob, forced);
    bob.disconnect();
    assert.equal((await leaves)[0].info.user, "bob");
    assert.equal(unasked, 0);
  });
}
