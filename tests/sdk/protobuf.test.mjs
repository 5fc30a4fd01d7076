// Clients of the official JavaScript SDK's Protobuf build, unmodified, in Node, alone and beside
// clients of JSON.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Centrifuge as JsonClient } from "centrifuge";
import { Centrifuge as ProtobufClient } from "centrifuge/build/protobuf";
import WebSocket from "ws";

import { PATIENCE } from "./clients.mjs";
import { keptByPings } from "./pings.mjs";
import { freePort, next, Server } from "./server.mjs";

const API_KEY = "of-this-test";

let server;
const clients = [];

before(async () => {
  server = await Server.start(await freePort(), "--dev", "--shards", "3", "--http-api-key", API_KEY);
});
after(async () => {
  clients.forEach((client) => client.disconnect());
  assert.equal(await server.stop(), 0);
});

const bytes = (value) => new TextEncoder().encode(JSON.stringify(value));
const value = (data) => JSON.parse(new TextDecoder().decode(data));

function client(Client, options = {}) {
  const one = new Client(server.url, {
    websocket: WebSocket, minReconnectDelay: 50, ...PATIENCE, ...options,
  });
  clients.push(one);
  return one;
}

async function connected(Client) {
  const one = client(Client);
  const opened = next(one, "connected");
  one.connect();
  await opened;
  return one;
}

async function subscribed(one, channel) {
  const subscription = one.newSubscription(channel);
  const done = next(subscription, "subscribed");
  subscription.subscribe();
  await done;
  return subscription;
}

/** The next `count` publications of a subscription, as values in both formats. */
function hear(subscription, count) {
  return new Promise((resolve) => {
    const heard = [];
    subscription.on("publication", ({ data }) => {
      heard.push(data instanceof Uint8Array ? value(data) : data);
      if (heard.length === count) resolve(heard);
    });
  });
}

test("two clients talk, each hears both, and who it was", async () => {
  const [one, other] = [await connected(ProtobufClient), await connected(ProtobufClient)];
  const here = await subscribed(one, "chat");
  const there = await subscribed(other, "chat");
  for (const [speaker, text] of [[here, "hello"], [there, "hello yourself"]]) {
    const heard = [next(here, "publication"), next(there, "publication")];
    await speaker.publish(bytes({ text }));
    for (const { data, channel, info } of await Promise.all(heard)) {
      assert.deepEqual(value(data), { text });
      assert.equal(channel, "chat");
      assert.match(info.client, /^[0-9a-f-]{36}$/);
    }
  }
});

test("subscriptions made before connect are in its first frame, and answered", async () => {
  const one = client(ProtobufClient);
  const subscriptions = ["a", "b", "c"].map((channel) => one.newSubscription(`early-${channel}`));
  const done = subscriptions.map((subscription) => next(subscription, "subscribed"));
  subscriptions.forEach((subscription) => subscription.subscribe());
  one.connect();
  await Promise.all(done);
});

test("clients of both formats hear the same from each other and from a back end, in order", async () => {
  const kinds = [JsonClient, ProtobufClient, JsonClient, ProtobufClient, JsonClient, ProtobufClient];
  const members = await Promise.all(kinds.map(connected));
  const subscriptions = await Promise.all(members.map((one) => subscribed(one, "both")));
  const rounds = 20;
  const heard = subscriptions.map((subscription) => hear(subscription, 3 * rounds));
  for (let round = 0; round < rounds; round += 1) {
    await members[0].publish("both", { from: "json", round });
    await members[1].publish("both", bytes({ from: "protobuf", round }));
    const answer = await fetch(`${server.http}/api/publish`, {
      method: "POST",
      headers: { "X-API-Key": API_KEY },
      body: JSON.stringify({ channel: "both", data: { from: "api", round }, tags: { a: "b" } }),
    });
    assert.deepEqual(await answer.json(), { result: {} });
  }
  const sequences = await Promise.all(heard);
  for (const sequence of sequences) assert.deepEqual(sequence, sequences[0]);
  for (const from of ["json", "protobuf", "api"]) {
    const own = sequences[0].filter((one) => one.from === from).map(({ round }) => round);
    assert.deepEqual(own, Array.from({ length: rounds }, (_, round) => round));
  }
});

test("bytes that are no JSON reach Protobuf clients, and end those of JSON with 3506", async () => {
  const [one, other] = [await connected(ProtobufClient), await connected(ProtobufClient)];
  const json = await connected(JsonClient);
  const there = await subscribed(other, "bytes");
  await subscribed(json, "bytes");
  const ended = next(json, "disconnected");
  const heard = next(there, "publication");
  await one.publish("bytes", new Uint8Array([0, 255, 10, 128]));
  assert.deepEqual([...(await heard).data], [0, 255, 10, 128]);
  const { code, reason } = await ended;
  assert.deepEqual({ code, reason }, { code: 3506, reason: "inappropriate protocol" });
});

test("a large publication has the same bytes", async () => {
  const one = await connected(ProtobufClient);
  const json = await connected(JsonClient);
  const subscription = await subscribed(one, "large");
  for (const length of [100, 127, 128, 16_384, 60_000]) {
    const text = "é".repeat(length / 2);
    const heard = next(subscription, "publication");
    await json.publish("large", { text });
    assert.deepEqual(value((await heard).data), { text });
  }
});

test("who has unsubscribed hears nothing more", async () => {
  const one = await connected(ProtobufClient);
  const subscription = await subscribed(one, "left");
  const marker = await subscribed(one, "marker");
  let late = 0;
  subscription.on("publication", () => { late += 1; });
  const gone = next(subscription, "unsubscribed");
  subscription.unsubscribe();
  assert.equal((await gone).code, 0);
  // The answer to a command behind the unsubscribe says that the server has seen it.
  await one.publish("elsewhere", bytes(1));
  const marked = next(marker, "publication");
  const other = await connected(ProtobufClient);
  await other.publish("left", bytes("nobody hears this"));
  await other.publish("marker", bytes(1));
  await marked;
  assert.equal(late, 0);
});

test("errors come with the protocol's codes and words", async () => {
  const one = await connected(ProtobufClient);
  await assert.rejects(one.presence("plain"), { code: 108, message: "not available" });
  await assert.rejects(one.history("plain", { limit: 1 }), { code: 108 });
  await assert.rejects(one.rpc("method", bytes({})), { code: 108 });
  const subscription = one.newSubscription("x".repeat(256));
  const refused = next(subscription, "unsubscribed");
  subscription.subscribe();
  assert.equal((await refused).code, 107);
  assert.equal(one.state, "connected");
});

test("the server's pings keep a silent client connected", async () => {
  await keptByPings(ProtobufClient, (data) => Buffer.from(data).equals(Buffer.from([0])));
});

test("clients are told 3001 when the server stops, and come back when it does", async () => {
  const port = await freePort();
  const first = await Server.start(port, "--dev");
  const one = new ProtobufClient(first.url, {
    websocket: WebSocket, minReconnectDelay: 50, maxReconnectDelay: 200, ...PATIENCE,
  });
  clients.push(one);
  const opened = next(one, "connected");
  one.connect();
  await opened;
  const subscription = await subscribed(one, "again");
  const lost = next(one, "connecting");
  assert.equal(await first.stop(), 0);
  const { code, reason } = await lost;
  assert.deepEqual({ code, reason }, { code: 3001, reason: "shutdown" });

  const back = next(subscription, "subscribed");
  const second = await Server.start(port, "--dev");
  await back;
  const heard = next(subscription, "publication");
  await one.publish("again", bytes("here again"));
  assert.equal(value((await heard).data), "here again");
  one.disconnect();
  assert.equal(await second.stop(), 0);
});
