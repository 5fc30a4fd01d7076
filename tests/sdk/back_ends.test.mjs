// Back ends that decide, and one that is told, with the official JavaScript SDK: who a client is,
// what its procedures return, which errors and ends it is told, and that it is gone.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { WEBSOCKETS } from "./clients.mjs";
import { freePort, next, Server } from "./server.mjs";
import WebSocket from "ws";

/** What each path answers to a body. */
const ANSWERS = {
  "/connect": ({ data }) => {
    if (data?.key === "right") return { result: { user: "ann", data: { hello: "ann" }, channels: ["own"] } };
    if (data?.key === "busy") return { error: { code: 1000, message: "not now", temporary: false } };
    return { disconnect: { code: 4501, reason: "wrong key" } };
  },
  "/rpc": ({ method, data, user }) => {
    if (method === "sum") return { result: { data: { sum: data.reduce((a, b) => a + b), user } } };
    if (method === "leave") return { disconnect: { code: 4502, reason: "as you wish" } };
    return { error: { code: 404, message: "no such procedure" } };
  },
  "/events": ({ events }) => {
    told.push(...events);
    waiting.splice(0).forEach((look) => look());
    return {};
  },
};

const told = [];
const waiting = [];
let backend;
let server;
const clients = [];

/** The first event of a client of this type, as soon as it is told. */
async function toldOf(client, type) {
  for (;;) {
    const event = told.find((one) => one.client === client && one.type === type);
    if (event) return event;
    await new Promise((resolve) => waiting.push(resolve));
  }
}

before(async () => {
  backend = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const answer = ANSWERS[request.url](JSON.parse(Buffer.concat(parts)));
    response.end(JSON.stringify(answer));
  }).listen(0, "127.0.0.1");
  await once(backend, "listening");
  const url = `http://127.0.0.1:${backend.address().port}`;
  server = await Server.start(
    await freePort(), "--shards", "2",
    "--client-proxy-connect-enabled", "--client-proxy-connect-endpoint", `${url}/connect`,
    "--rpc-without-namespace-proxy-enabled", "--rpc-proxy-endpoint", `${url}/rpc`,
    "--events-enabled", "--events-endpoint", `${url}/events`,
    "--channel-without-namespace-allow-subscribe-for-client",
  );
});

after(async () => {
  clients.forEach((client) => client.disconnect());
  assert.equal(await server.stop(), 0);
  backend.closeAllConnections();
  backend.close();
});

for (const { name, Client, put, take } of WEBSOCKETS) {
  const client = (key) => {
    const one = new Client(server.url, { websocket: WebSocket, data: put({ key }) });
    clients.push(one);
    return one;
  };

  const connected = async () => {
    const one = client("right");
    const opened = next(one, "connected");
    one.connect();
    return [one, await opened];
  };

  test(`${name}: a client is who the back end says, and its calls reach it`, async () => {
    const one = client("right");
    const inChannel = next(one, "subscribed");
    const opened = next(one, "connected");
    one.connect();
    assert.deepEqual(take((await opened).data), { hello: "ann" });
    assert.equal((await inChannel).channel, "own");
    const { data } = await one.rpc("sum", put([1, 2, 3]));
    assert.deepEqual(take(data), { sum: 6, user: "ann" });
    await assert.rejects(one.rpc("other", put({})), { code: 404, message: "no such procedure" });
  });

  test(`${name}: a back end ends a connection in words of its own, as it begins and later`, async () => {
    const stranger = client("wrong");
    const refused = next(stranger, "disconnected");
    stranger.connect();
    assert.deepEqual(await refused, { code: 4501, reason: "wrong key" });
    const busy = client("busy");
    const failed = next(busy, "disconnected");
    busy.connect();
    assert.equal((await failed).code, 1000);
    const [one] = await connected();
    const ended = next(one, "disconnected");
    one.rpc("leave", put({})).catch(() => {}); // it has no answer
    assert.deepEqual(await ended, { code: 4502, reason: "as you wish" });
  });

  test(`${name}: a back end is told who leaves a channel and who is gone`, async () => {
    const [one, { client: id }] = await connected();
    const channel = one.newSubscription("news");
    channel.subscribe();
    await channel.ready();
    channel.unsubscribe();
    const left = await toldOf(id, "unsubscribe");
    assert.deepEqual([left.user, left.channel, left.code], ["ann", "news", 0]);
    one.disconnect();
    const gone = await toldOf(id, "disconnect");
    assert.deepEqual([gone.user, gone.code, gone.channel], ["ann", 3000, undefined]);
    assert.notEqual(left.id, gone.id);
  });
}
