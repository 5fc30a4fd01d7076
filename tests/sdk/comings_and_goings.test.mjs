// Clients of the official JavaScript SDK that come and go at any moment: in loops, before a reply,
// by the network, and with back ends of their own that fail.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { UnauthorizedError } from "centrifuge";
import { UnauthorizedError as ProtobufUnauthorizedError } from "centrifuge/build/protobuf";

import { FORMATS, hear, sign, Stage, subscribed } from "./clients.mjs";
import { next } from "./server.mjs";

const NAMESPACES = [{
  name: "all", allow_subscribe_for_client: true, allow_publish_for_client: true,
  presence: true, allow_presence_for_client: true,
}];
const ROUNDS = 10;
const CHANNELS = 20;

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of FORMATS) {
  const channel = (name) => `all:${name}-${format.name.replace("/", "-")}`;

  test(`${format.name}: a client connects and disconnects again and again`, async () => {
    const [client] = await stage.connected(format, "ann");
    for (let round = 0; round < ROUNDS; round += 1) {
      const ended = next(client, "disconnected");
      client.disconnect();
      assert.equal((await ended).code, 0);
      const opened = next(client, "connected");
      client.connect();
      await opened;
    }
    for (let round = 0; round < ROUNDS; round += 1) {
      client.disconnect();
      client.connect();
    }
    await client.ready();
    const [subscription] = await subscribed(client, channel("after"));
    assert.equal((await subscription.presenceStats()).numClients, 1);
  });

  test(`${format.name}: a client subscribes and unsubscribes again and again`, async () => {
    const [client] = await stage.connected(format, "ann");
    const [subscription] = await subscribed(client, channel("again"));
    for (let round = 0; round < ROUNDS; round += 1) {
      subscription.unsubscribe();
      subscription.subscribe();
    }
    await subscription.ready();
    const stats = await subscription.presenceStats();
    assert.deepEqual([stats.numClients, stats.numUsers], [1, 1]);
    const heard = next(subscription, "publication");
    await subscription.publish(format.put(7));
    assert.equal(format.take((await heard).data), 7);
    subscription.unsubscribe();
    // Behind the unsubscribe of the same channel.
    const gone = await client.presenceStats(channel("again"));
    assert.equal(gone.numClients, 0);
  });

  test(`${format.name}: many subscriptions come and go side by side`, async () => {
    const [client] = await stage.connected(format, "ann");
    const names = Array.from({ length: CHANNELS }, (_, number) => channel(`many-${number}`));
    const all = names.map((name) => client.newSubscription(name));
    all.forEach((one) => one.subscribe());
    await Promise.all(all.map((one) => one.ready()));
    all.forEach((one) => one.unsubscribe());
    const left = await Promise.all(names.map((name) => client.presenceStats(name)));
    assert.deepEqual(left.map((stats) => stats.numClients), names.map(() => 0));
    all.forEach((one) => one.subscribe());
    await Promise.all(all.map((one) => one.ready()));
  });

  test(`${format.name}: who unsubscribes before it has connected is in no channel`, async () => {
    const client = stage.client(format, "ann");
    const subscription = client.newSubscription(channel("early"));
    subscription.subscribe();
    client.connect();
    subscription.unsubscribe();
    await client.ready();
    assert.equal(subscription.state, "unsubscribed");
    assert.equal((await client.presenceStats(channel("early"))).numClients, 0);
    if (format.transport) return;
    // And once more while the commands of the first frame are on their way.
    const late = stage.client(format, "ann");
    const other = late.newSubscription(channel("early"));
    const sent = next(late, "__centrifuge_debug:connect_frame_sent").then(() => other.unsubscribe());
    other.subscribe();
    late.connect();
    await sent;
    await late.ready();
    assert.equal((await late.presenceStats(channel("early"))).numClients, 0);
    other.subscribe();
    await other.ready();
  });

  test(`${format.name}: what is asked before the connection is answered on it`, async () => {
    const client = stage.client(format, "ann");
    const asked = client.rpc("sum", format.put({}));
    client.connect();
    await assert.rejects(asked, (error) => error.code === 108, "nobody serves procedures here");
  });

  test(`${format.name}: the network goes and comes back, and the client with it`, async () => {
    const network = new EventTarget();
    const [client] = await stage.connected(format, "ann", { networkEventTarget: network });
    const away = next(client, "connecting");
    network.dispatchEvent(new Event("offline"));
    assert.equal((await away).code, 1);
    const back = next(client, "connected");
    network.dispatchEvent(new Event("online"));
    await back;
    client.disconnect();
    network.dispatchEvent(new Event("online"));
    assert.equal(client.state, "disconnected", "nobody has asked for more");
    if (format.transport) return;
    // It goes before the WebSocket is open.
    const other = new EventTarget();
    const late = stage.client(format, "ann", { networkEventTarget: other });
    late.once("__centrifuge_debug:transport_initialized", () => {
      other.dispatchEvent(new Event("offline"));
    });
    late.connect();
    await late.ready();
  });

  test(`${format.name}: who finds nobody tries again until it is told to give up`, async () => {
    const client = stage.client(format, "ann");
    client.gate.isOpen = false;
    const errors = hear(client, "error", 3);
    client.connect();
    for (const { type } of await errors) assert.equal(type, "transport");
    assert.equal(client.state, "connecting");
    client.disconnect();
    assert.equal(client.state, "disconnected");
    client.gate.isOpen = true;
    client.connect();
    await client.ready();
  });

  test(`${format.name}: who has no token or data yet tries again`, async () => {
    const fails = (value) => {
      let asked = 0;
      return async () => {
        asked += 1;
        if (asked === 1) throw new Error("not yet");
        return value;
      };
    };
    for (const options of [
      { token: "", getToken: fails(sign({ sub: "ann" })) },
      { getData: fails(format.put({})) },
    ]) {
      const client = stage.client(format, "ann", options);
      const failed = next(client, "error");
      const opened = next(client, "connected");
      client.connect();
      await failed;
      await opened;
    }
    const [client] = await stage.connected(format, "ann");
    const token = sign({ sub: "ann", channel: channel("tries") });
    for (const [number, options] of [
      { getToken: fails(token) }, { getData: fails(format.put({})) },
    ].entries()) {
      const name = number === 0 ? channel("tries") : channel("data");
      const subscription = client.newSubscription(name, { ...options, minResubscribeDelay: 50 });
      const failed = next(subscription, "error");
      const done = next(subscription, "subscribed");
      subscription.subscribe();
      await failed;
      await done;
    }
  });

  test(`${format.name}: who may not have a token is disconnected`, async () => {
    const Unauthorized = [UnauthorizedError, ProtobufUnauthorizedError];
    const isJson = format.name.startsWith("JSON");
    const getToken = async () => { throw new Unauthorized[isJson ? 0 : 1]("no"); };
    const client = stage.client(format, "ann", { token: "", getToken });
    const ended = next(client, "disconnected");
    client.connect();
    const { code, reason } = await ended;
    assert.deepEqual([code, reason], [1, "unauthorized"]);
  });
}
