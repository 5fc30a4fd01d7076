// Connection tokens with the official JavaScript SDK: getToken, expiry, refresh, refusal.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";

import { Centrifuge as JsonCentrifuge } from "centrifuge";
import { Centrifuge as ProtobufCentrifuge } from "centrifuge/build/protobuf";
import WebSocket from "ws";

import { PATIENCE } from "./clients.mjs";
import { freePort, next, Server } from "./server.mjs";

const KEY = "a key of tests";
const FLAGS = [
  "--shards", "2",
  "--client-token-hmac-secret-key", KEY,
  "--client-expired-close-delay", "5s",
  "--channel-without-namespace-allow-subscribe-for-client",
  "--channel-without-namespace-allow-publish-for-client",
];

let server;
const clients = [];

before(async () => { server = await Server.start(await freePort(), ...FLAGS); });
after(async () => {
  clients.forEach((client) => client.disconnect());
  assert.equal(await server.stop(), 0);
});

function sign(claims, key = KEY) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
}

const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

function client(Centrifuge, options) {
  const one = new Centrifuge(server.url, {
    websocket: WebSocket, minReconnectDelay: 50, ...PATIENCE, ...options,
  });
  clients.push(one);
  return one;
}

for (const [format, Centrifuge] of [["JSON", JsonCentrifuge], ["Protobuf", ProtobufCentrifuge]]) {
  test(`${format}: others see the user of the token and its info`, async () => {
    const one = client(Centrifuge, { token: sign({ sub: "ann", info: { name: "Ann" } }) });
    const channel = one.newSubscription(`who-${format}`);
    const heard = next(channel, "publication");
    channel.subscribe();
    one.connect();
    await channel.ready();
    await channel.publish(format === "JSON" ? 7 : new TextEncoder().encode("7"));
    const { info } = await heard;
    assert.equal(info.user, "ann");
    const connInfo = format === "JSON" ? info.connInfo : JSON.parse(Buffer.from(info.connInfo));
    assert.deepEqual(connInfo, { name: "Ann" });
  });

  test(`${format}: a connection is refreshed before it ends, and goes on`, async () => {
    let asked = 0;
    let refreshed;
    const done = new Promise((resolve) => { refreshed = resolve; });
    const getToken = async () => {
      asked += 1;
      if (asked === 3) refreshed();
      return sign({ sub: "ann", exp: inSeconds(asked < 3 ? 4 : 3600) });
    };
    const one = client(Centrifuge, { getToken });
    const states = [];
    one.on("state", ({ newState }) => states.push(newState));
    one.connect();
    await one.ready();
    await done;
    const channel = one.newSubscription(`still-${format}`);
    channel.subscribe();
    await channel.ready();
    assert.deepEqual(states, ["connecting", "connected"], "it was never away");
  });
}

test("an expired token is exchanged for a new one", async () => {
  const getToken = async () => sign({ sub: "ann" });
  const one = client(JsonCentrifuge, { token: sign({ sub: "ann", exp: inSeconds(-5) }), getToken });
  const error = next(one, "error");
  one.connect();
  await one.ready();
  assert.equal((await error).error.code, 109);
});

test("a forged token is the end, with its reason", async () => {
  const one = client(JsonCentrifuge, { token: sign({ sub: "ann" }, "another key") });
  const ended = next(one, "disconnected");
  one.connect();
  const { code, reason } = await ended;
  assert.equal(code, 3500);
  assert.match(reason, /^invalid token/);
});

test("who brings no new token is closed with 3005, and comes back", async () => {
  let [isIn, isHanging] = [false, false];
  const getToken = async () => {
    if (!isIn) return sign({ sub: "ann", exp: inSeconds(3) });
    if (isHanging) return sign({ sub: "ann" });
    isHanging = true;
    return new Promise(() => {});
  };
  const one = client(JsonCentrifuge, { getToken });
  one.connect();
  await one.ready();
  isIn = true;
  const back = new Promise((resolve) => { one.on("connected", resolve); });
  assert.equal((await next(one, "connecting")).code, 3005);
  await back;
  assert.equal(isHanging, true);
});
