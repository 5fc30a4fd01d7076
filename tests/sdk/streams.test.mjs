// Transports that a client falls back on, and what becomes of them when the server ends and comes
// back: the JavaScript SDK over http_stream and sse. What sessions can do is the same over all
// transports, and tested over all of them beside this file.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { hear, KEY, PATIENCE, publish, sign, Stage, STREAMS, subscribed, WEBSOCKETS } from "./clients.mjs";
import { freePort, next, Server } from "./server.mjs";

const kept = {
  allow_subscribe_for_client: true, allow_publish_for_client: true, history_size: 50,
  history_ttl: "10m", force_recovery: true,
};
const NAMESPACES = [{ name: "all", ...kept }];
const SHORT_PINGS = ["--client-ping-interval", "5s", "--client-pong-timeout", "4900ms"];
const PONGS = 2;

let stage;
before(async () => { stage = await Stage.start(NAMESPACES, ...SHORT_PINGS); });
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of STREAMS) {
  test(`${format.name}: where no WebSocket gets through, a client comes by a stream`, async () => {
    const [client, context] = await stage.connected(format, "ann");
    assert.equal(context.transport, format.transport);
    const nowhere = "ws://127.0.0.1:1/connection/websocket";
    const endpoint = `${stage.server.http}/connection/${format.transport}`;
    const ways = [
      { transport: "websocket", endpoint: nowhere }, { transport: format.transport, endpoint },
    ];
    const fallback = new format.Client(ways, {
      ...client.gate.ways(), emulationEndpoint: `${stage.server.http}/emulation`,
      token: sign({ sub: "ann" }), minReconnectDelay: 50, maxReconnectDelay: 200, ...PATIENCE,
    });
    stage.clients.push(fallback);
    const opened = next(fallback, "connected");
    fallback.connect();
    assert.equal((await opened).transport, format.transport);
    const channel = `all:fallback-${format.name}`;
    const [subscription] = await subscribed(fallback, channel);
    const heard = next(subscription, "publication");
    await publish(format, client, channel, ["hello"]);
    assert.equal(format.take((await heard).data), "hello");
  });

  test(`${format.name}: what a long list of commands asks for is answered in order`, async () => {
    const [client] = await stage.connected(format, "ann");
    const channel = `all:many-${format.name}`;
    const [subscription] = await subscribed(client, channel);
    const heard = hear(subscription, "publication", 50);
    client.startBatching();
    const sent = Array.from({ length: 50 }, (_, at) => client.publish(channel, format.put(at)));
    client.stopBatching();
    await Promise.all(sent);
    const values = (await heard).map(({ data }) => format.take(data));
    assert.deepEqual(values, Array.from({ length: 50 }, (_, at) => at));
  });
}

/** A client over a stream, once it has answered so many pings; how often it was lost by then. */
async function pinged(format) {
  let pongs = 0;
  let enough;
  const done = new Promise((resolve) => { enough = resolve; });
  // An idle client says nothing but pongs.
  const counted = async (...request) => {
    const response = await fetch(...request);
    if (!`${request[0]}`.endsWith("/emulation")) return response;
    assert.equal(response.status, 204);
    pongs += 1;
    if (pongs === PONGS) enough();
    return response;
  };
  const [client] = await stage.connected(format, "ann", { fetch: counted });
  let lost = 0;
  client.on("connecting", () => { lost += 1; });
  client.on("disconnected", () => { lost += 1; });
  await done;
  return lost;
}

test("pings and pongs keep streams open", async () => {
  assert.deepEqual(await Promise.all(STREAMS.map(pinged)), STREAMS.map(() => 0));
});

test("clients of every transport hear each other", async () => {
  const members = await Promise.all([...WEBSOCKETS, ...STREAMS].map(async (format) => {
    const [client] = await stage.connected(format, "ann");
    const [subscription] = await subscribed(client, "all:together");
    return { format, subscription };
  }));
  for (const { format, subscription } of members) {
    const heard = members.map(({ subscription: one }) => next(one, "publication"));
    await subscription.publish(format.put(format.name));
    const values = await Promise.all(heard);
    values.forEach(({ data }, at) => {
      assert.equal(members[at].format.take(data), format.name);
    });
  }
});

test("when the process is replaced, its clients come back by themselves", async () => {
  const port = await freePort();
  const flags = [
    "--shards", "2", "--client-token-hmac-secret-key", KEY, "--http-stream-enabled",
    "--sse-enabled", "--channel-namespaces", JSON.stringify(NAMESPACES),
  ];
  const first = new Stage(await Server.start(port, ...flags));
  const clients = await Promise.all(STREAMS.map(async (format) => {
    const [client] = await first.connected(format, "ann");
    return client;
  }));
  const lost = clients.map((client) => next(client, "connecting"));
  const back = clients.map((client) => next(client, "connected"));
  assert.equal(await first.server.stop(), 0);
  for (const { code, reason } of await Promise.all(lost)) {
    assert.deepEqual([code, reason], [3001, "shutdown"]);
  }
  const second = await Server.start(port, ...flags);
  await Promise.all(back);
  clients.forEach((client) => client.disconnect());
  assert.equal(await second.stop(), 0);
});
