// The server's binary is replaced while clients go on: those with a WebSocket notice nothing, and
// those with a stream come back by themselves; both hear everything, once.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Stage, STREAMS, subscribed, WEBSOCKETS } from "./clients.mjs";
import { next } from "./server.mjs";

const NAMESPACES = [{
  name: "kept", allow_subscribe_for_client: true, allow_publish_for_client: true,
  history_size: 1000, history_ttl: "10m", force_recovery: true,
}];
const UPGRADES = 3;
/** Publications between two upgrades, at least. */
const BETWEEN = 20;
/** What a client that is away can recover is bounded: nobody gets so far ahead of it. */
const AHEAD_MAX = 100;

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

/** Numbers that a client publishes, one after the other, and that another one hears. */
class Numbers {
  constructor(speaker, subscription, format) {
    this.count = 0;
    this.heard = [];
    this.isOver = false;
    this.waiting = [];
    subscription.on("publication", ({ data }) => {
      this.heard.push(format.take(data));
      this.look();
    });
    this.done = this.publish(speaker, subscription.channel);
  }

  async publish(speaker, channel) {
    while (!this.isOver) {
      await speaker.publish(channel, this.count);
      this.count += 1;
      await this.until(() => this.isOver || this.count - this.heard.length < AHEAD_MAX);
    }
  }

  look() {
    this.waiting.splice(0).forEach((wake) => wake());
  }

  async until(isSo) {
    while (!isSo()) await new Promise((resolve) => { this.waiting.push(resolve); });
  }

  /** Some more are heard. */
  async goOn() {
    const target = this.heard.length + BETWEEN;
    await this.until(() => this.heard.length >= target);
  }

  /** No more are published; all that were are heard. */
  async end() {
    this.isOver = true;
    this.look();
    await this.done;
    await this.until(() => this.heard.length >= this.count);
  }
}

/** What is told of these events, in order. */
function noted(emitters, events) {
  const told = [];
  for (const emitter of emitters) {
    for (const event of events) emitter.on(event, (context) => told.push([event, context]));
  }
  return told;
}

/** Somebody who publishes, over a WebSocket, and somebody who listens. */
async function pair(format, channel) {
  const [speaker] = await stage.connected(WEBSOCKETS[0], "speaker");
  const [listener] = await stage.connected(format, "listener");
  const [subscription] = await subscribed(listener, channel);
  return { speaker, listener, subscription };
}

for (const format of WEBSOCKETS) {
  test(`${format.name}: a client sees no end of its connection, and hears all once`, async () => {
    const { speaker, listener, subscription } = await pair(format, `kept:${format.name}`);
    const ends = noted([speaker, listener], ["connecting", "disconnected"]);
    const away = noted([subscription], ["subscribing", "unsubscribed"]);
    const numbers = new Numbers(speaker, subscription, format);
    for (let round = 0; round < UPGRADES; round += 1) {
      await numbers.goOn();
      await stage.server.upgrade();
    }
    await numbers.goOn();
    await numbers.end();
    assert.deepEqual(numbers.heard, Array.from({ length: numbers.count }, (_, number) => number));
    assert.deepEqual([...ends, ...away], []);
  });
}

for (const format of STREAMS) {
  test(`${format.name}: a stream ends, comes back by itself, and misses nothing`, async () => {
    const { speaker, listener, subscription } = await pair(format, `kept:${format.name}`);
    const ends = noted([speaker, listener], ["connecting", "disconnected"]);
    const back = noted([subscription], ["subscribed", "unsubscribed"]);
    const numbers = new Numbers(speaker, subscription, format);
    for (let round = 0; round < UPGRADES; round += 1) {
      await numbers.goOn();
      const connected = next(listener, "connected");
      await stage.server.upgrade();
      await connected;
    }
    await numbers.goOn();
    await numbers.end();
    assert.deepEqual(numbers.heard, Array.from({ length: numbers.count }, (_, number) => number));
    const once = Array.from({ length: UPGRADES }, () => ["connecting", 3001]);
    assert.deepEqual(ends.map(([event, { code }]) => [event, code]), once);
    const recoveries = Array.from({ length: UPGRADES }, () => ["subscribed", true]);
    assert.deepEqual(back.map(([event, { recovered }]) => [event, recovered]), recoveries);
  });
}
