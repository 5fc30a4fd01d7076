// The server API from outside: plain HTTP, and the official Python client.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

import { freePort, next, Server } from "./server.mjs";

const KEY = "of this test alone";
const run = promisify(execFile);
let server;
let subscription;
let client;

before(async () => {
  server = await Server.start(await freePort(), "--client-allow-anonymous-connect-without-token",
    "--channel-without-namespace-allow-subscribe-for-client",
    "--channel-without-namespace-allow-subscribe-for-anonymous", "--http-api-key", KEY);
  client = new Centrifuge(server.url, { websocket: WebSocket });
  subscription = client.newSubscription("news");
  const done = next(subscription, "subscribed");
  subscription.subscribe();
  client.connect();
  await done;
});
after(async () => {
  client.disconnect();
  assert.equal(await server.stop(), 0);
});

function api(method, body, headers = { "X-API-Key": KEY }) {
  return fetch(`${server.http}/api/${method}`, { method: "POST", headers, body: JSON.stringify(body) });
}

test("a publication over HTTP reaches the subscriber", async () => {
  const heard = next(subscription, "publication");
  const answer = await api("publish", { channel: "news", data: { n: 1 } });
  assert.deepEqual([answer.status, await answer.json()], [200, { result: {} }]);
  assert.deepEqual((await heard).data, { n: 1 });
});

test("without the key nothing is published", async () => {
  let heard = 0;
  const count = () => { heard += 1; };
  subscription.on("publication", count);
  for (const headers of [{}, { "X-API-Key": "wrong" }, { Authorization: "apikey wrong" }]) {
    assert.equal((await api("publish", { channel: "news", data: 1 }, headers)).status, 401);
  }
  const marked = next(subscription, "publication");
  await api("publish", { channel: "news", data: "marker" });
  assert.equal((await marked).data, "marker");
  assert.equal(heard, 1);
  subscription.off("publication", count);
});

test("a client without the right may not publish", async () => {
  await assert.rejects(client.publish("news", 1), { code: 103 });
});

test("the official Python client publishes, broadcasts and asks", async () => {
  const heard = [];
  const both = new Promise((resolve) => {
    subscription.on("publication", ({ data }) => { if (heard.push(data) === 2) resolve(); });
  });
  const script = fileURLToPath(new URL("publish.py", import.meta.url));
  const { stdout } = await run(process.env.PYTHON, [script, `${server.http}/api`, KEY, "news"]);
  await both;
  assert.deepEqual(heard, [{ from: "publish" }, { from: "broadcast" }]);
  assert.equal(JSON.parse(stdout).nodes, 1);
});
