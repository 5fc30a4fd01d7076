// Clients of the official JavaScript SDK, unmodified, in Node.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

import { PATIENCE } from "./clients.mjs";
import { keptByPings } from "./pings.mjs";
import { freePort, next, Server } from "./server.mjs";

let server;
const clients = [];

before(async () => { server = await Server.start(await freePort(), "--dev", "--shards", "3"); });
after(async () => {
  clients.forEach((client) => client.disconnect());
  assert.equal(await server.stop(), 0);
});

function client(options = {}) {
  const one = new Centrifuge(server.url, {
    websocket: WebSocket, minReconnectDelay: 50, ...PATIENCE, ...options,
  });
  clients.push(one);
  return one;
}

async function connected(options) {
  const one = client(options);
  const opened = next(one, "connected");
  one.connect();
  return [one, await opened];
}

async function subscribed(one, channel) {
  const subscription = one.newSubscription(channel);
  const done = next(subscription, "subscribed");
  subscription.subscribe();
  await done;
  return subscription;
}

test("a client is told its id, a UUID of version 4, unlike any other's", async () => {
  const contexts = await Promise.all([1, 2, 3].map(async () => (await connected())[1]));
  const ids = contexts.map((context) => context.client);
  for (const id of ids) {
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
  assert.equal(new Set(ids).size, 3);
});

test("two clients talk, each hears both", async () => {
  const [one] = await connected();
  const [other] = await connected();
  const here = await subscribed(one, "chat");
  const there = await subscribed(other, "chat");
  for (const [speaker, text] of [[here, "hello"], [there, "hello yourself"]]) {
    const heard = [next(here, "publication"), next(there, "publication")];
    await speaker.publish({ text });
    for (const { data, channel } of await Promise.all(heard)) {
      assert.deepEqual(data, { text });
      assert.equal(channel, "chat");
    }
  }
});

test("subscriptions made before connect are in its first frame, and answered", async () => {
  const one = client();
  const subscriptions = ["a", "b", "c"].map((channel) => one.newSubscription(`early-${channel}`));
  const done = subscriptions.map((subscription) => next(subscription, "subscribed"));
  subscriptions.forEach((subscription) => subscription.subscribe());
  one.connect();
  await Promise.all(done);
});

test("publications of one publisher come in order, none lost, on every shard", async () => {
  const count = 500;
  const listeners = await Promise.all(Array.from({ length: 6 }, async () => {
    const [one] = await connected();
    return subscribed(one, "order");
  }));
  const heard = listeners.map((subscription) => new Promise((resolve) => {
    const numbers = [];
    subscription.on("publication", ({ data }) => {
      numbers.push(data);
      if (numbers.length === count) resolve(numbers);
    });
  }));
  const [publisher] = await connected();
  await Promise.all(Array.from({ length: count }, (_, number) => publisher.publish("order", number)));
  const expected = Array.from({ length: count }, (_, number) => number);
  for (const numbers of await Promise.all(heard)) assert.deepEqual(numbers, expected);
});

test("who has unsubscribed hears nothing more", async () => {
  const [one] = await connected();
  const subscription = await subscribed(one, "left");
  const marker = await subscribed(one, "marker");
  let late = 0;
  subscription.on("publication", () => { late += 1; });
  const gone = next(subscription, "unsubscribed");
  subscription.unsubscribe();
  assert.equal((await gone).code, 0);
  // The answer to a command behind the unsubscribe says that the server has seen it.
  await one.publish("elsewhere", 1);
  const marked = next(marker, "publication");
  const [other] = await connected();
  await other.publish("left", "nobody hears this");
  await other.publish("marker", 1);
  await marked;
  assert.equal(late, 0);
});

test("what is switched off or not there is refused with the protocol's codes", async () => {
  const [one] = await connected();
  await subscribed(one, "plain");
  await assert.rejects(one.presence("plain"), { code: 108 });
  await assert.rejects(one.history("plain", { limit: 1 }), { code: 108 });
  await assert.rejects(one.rpc("method", {}), { code: 108 });
});

test("a channel name that is too long is refused, and only its subscription ends", async () => {
  const [one] = await connected();
  const subscription = one.newSubscription("x".repeat(256));
  const refused = next(subscription, "unsubscribed");
  subscription.subscribe();
  assert.equal((await refused).code, 107);
  assert.equal(one.state, "connected");
});

test("a message over the limit ends the connection for good", async () => {
  const [one] = await connected();
  const ended = next(one, "disconnected");
  one.publish("big", "x".repeat(70_000)).catch(() => {}); // it never has an answer
  assert.equal((await ended).code, 3);
});

test("what is no JSON ends the connection for good, and nobody hears of it", async () => {
  class Spoiling extends WebSocket {
    send(text, ...rest) {
      super.send(text.replace('"boom"', "boom"), ...rest);
    }
  }
  const [one] = await connected({ websocket: Spoiling });
  const [other] = await connected();
  const there = await subscribed(other, "spoilt");
  const heard = next(there, "publication");
  const ended = next(one, "disconnected");
  await assert.rejects(one.publish("spoilt", { text: "boom" }));
  const { code, reason } = await ended;
  assert.deepEqual([code, reason], [3501, "bad request"]);
  await there.publish("sound");
  assert.equal((await heard).data, "sound");
});

test("the server's pings keep a silent client connected", async () => {
  await keptByPings(Centrifuge, (data) => String(data) === "{}");
});

test("clients are told 3001 when the server stops, and come back when it does", async () => {
  const port = await freePort();
  const first = await Server.start(port, "--dev");
  const one = new Centrifuge(first.url, {
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
  await one.publish("again", "here again");
  assert.equal((await heard).data, "here again");
  one.disconnect();
  assert.equal(await second.stop(), 0);
});
