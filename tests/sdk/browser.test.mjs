// The JavaScript SDK in a real browser, in both builds: presence, history, and recovery over a
// network that fails.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { FORMATS, hear, PATIENCE, publish, Stage, STREAMS, subscribed } from "./clients.mjs";
import { Wire } from "./wire.mjs";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const NAMESPACES = [{
  name: "all", allow_subscribe_for_client: true, allow_publish_for_client: true,
  presence: true, allow_presence_for_subscriber: true,
  join_leave: true, force_push_join_leave: true,
  history_size: 50, history_ttl: "10m", allow_history_for_subscriber: true, force_recovery: true,
}];

let stage;
let browser;
let wire;
before(async () => {
  stage = await Stage.start(NAMESPACES);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
  wire = await Wire.to(stage.server.port);
});
after(async () => {
  await browser?.close();
  wire?.cut();
  wire?.server.close();
  assert.equal(await stage.end(), 0);
});

/** A page of the server's own host with a client in it, subscribed to a channel. */
async function page(format, channel) {
  const one = await browser.newPage();
  // Any page will do; this one loads nothing from elsewhere.
  await one.goto(`http://127.0.0.1:${wire.port}/health/live`);
  const build = new URL(`node_modules/centrifuge/dist/${format.build}`, import.meta.url);
  await one.addScriptTag({ path: fileURLToPath(build) });
  const host = `127.0.0.1:${wire.port}`;
  const endpoint = `http://${host}/connection/${format.transport}`;
  const websocket = `ws://${host}/connection/websocket`;
  const way = format.transport ? [{ transport: format.transport, endpoint }] : websocket;
  const token = stage.token({ sub: "ann", info: { name: "Ann" } });
  const given = { way, channel, token, ...PATIENCE };
  await one.evaluate(async ({ way, channel, token, timeout }) => {
    const options = { token, minReconnectDelay: 50, maxReconnectDelay: 200, timeout };
    const client = new Centrifuge(way, options);
    const subscription = client.newSubscription(channel);
    Object.assign(window, { client, subscription, heard: [], came: [], states: [] });
    subscription.on("publication", ({ data, offset }) => {
      const isBytes = data instanceof Uint8Array;
      const value = isBytes ? JSON.parse(new TextDecoder().decode(data)) : data;
      window.heard.push([offset, value]);
    });
    subscription.on("join", ({ info }) => window.came.push(info.user));
    client.on("state", ({ newState }) => window.states.push(newState));
    subscription.on("subscribed", ({ recovered }) => { window.recovered = recovered; });
    subscription.subscribe();
    client.connect();
    await subscription.ready();
  }, given);
  return one;
}

for (const format of FORMATS) {
  test(`Chromium, ${format.name}: a page sees who is there, who comes, and what was said`, async () => {
    const channel = `all:seen-${format.name}`;
    const one = await page(format, channel);
    const [bob] = await stage.connected(format, "bob");
    await subscribed(bob, channel);
    await one.waitForFunction(() => window.came.includes("bob"));
    await publish(format, bob, channel, ["hello"]);
    await one.waitForFunction(() => window.heard.length === 1);
    const [users, stats, offsets] = await one.evaluate(async () => [
      Object.values((await window.subscription.presence()).clients).map(({ user }) => user),
      await window.subscription.presenceStats(),
      (await window.subscription.history({ limit: 5 })).publications.map(({ offset }) => offset),
    ]);
    assert.deepEqual(users.sort(), ["ann", "bob"]);
    assert.deepEqual(stats, { numClients: 2, numUsers: 2 });
    assert.deepEqual(offsets, [1]);
    await one.close();
  });

  test(`Chromium, ${format.name}: a page comes back to what it missed`, async () => {
    const channel = `all:back-${format.name}`;
    const one = await page(format, channel);
    const [bob] = await stage.connected(format, "bob");
    const [witness] = await subscribed(bob, channel);
    const say = async (...values) => {
      const heard = hear(witness, "publication", values.length);
      await publish(format, bob, channel, values);
      await heard;
    };
    await say("a");
    await one.waitForFunction(() => window.heard.length === 1);
    wire.cut();
    await one.waitForFunction(() => window.states.at(-1) === "connecting");
    await say("b", "c");
    wire.mend();
    await one.waitForFunction(() => window.recovered);
    await say("d");
    await one.waitForFunction(() => window.heard.length === 4);
    const heard = await one.evaluate(() => window.heard);
    assert.deepEqual(heard, [[1, "a"], [2, "b"], [3, "c"], [4, "d"]]);
    await one.close();
  });
}

/** Whether a page of `origin` connects over this transport to a server of another host. */
async function connectsAcross(origin, { transport, build }, http) {
  const one = await browser.newPage();
  await one.goto(`${origin}/health/live`);
  const script = new URL(`node_modules/centrifuge/dist/${build}`, import.meta.url);
  await one.addScriptTag({ path: fileURLToPath(script) });
  const given = { http, transport, token: stage.token({ sub: "ann" }) };
  const outcome = await one.evaluate(async ({ http, transport, token }) => {
    const ways = [{ transport, endpoint: `${http}/connection/${transport}` }];
    const client = new Centrifuge(ways, { emulationEndpoint: `${http}/emulation`, token });
    const turnedAway = new Promise((resolve) => client.once("error", () => resolve("refused")));
    const subscription = client.newSubscription("all:across");
    // Said beside the stream, which takes a second permission.
    const subscribed = new Promise((resolve) => subscription.once("subscribed", () => resolve("in")));
    client.once("connected", () => subscription.subscribe());
    client.connect();
    const outcome = await Promise.race([turnedAway, subscribed]);
    client.disconnect();
    return outcome;
  }, given);
  await one.close();
  return outcome;
}

test("Chromium: pages of other hosts connect over streams if they are listed", async () => {
  const ours = stage.server.http;
  const theirs = `http://127.0.0.1:${wire.port}`;
  const other = await Stage.start(NAMESPACES, "--client-allowed-origins", ours);
  for (const format of STREAMS) {
    assert.equal(await connectsAcross(ours, format, other.server.http), "in", format.name);
    assert.equal(await connectsAcross(theirs, format, other.server.http), "refused", format.name);
  }
  assert.equal(await other.end(), 0);
});
