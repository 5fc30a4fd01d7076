// The server's binary is replaced while clients of the JavaScript SDK go on.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Stage, WEBSOCKETS, hear, subscribed } from "./clients.mjs";

const NAMESPACES = [{
  name: "kept", allow_subscribe_for_client: true, allow_publish_for_client: true,
  history_size: 1000, history_ttl: "10m", force_recovery: true,
}];
const UPGRADES = 3;
/** Publications between two upgrades, at least. */
const BETWEEN = 20;
const SOCKET = join(tmpdir(), `longwire-sdk-upgrade-${process.pid}`);

let stage;
/** The process that serves now, where that is not the one that was started. */
let pid;
before(async () => { stage = await Stage.start(NAMESPACES, "--upgrade-socket", SOCKET); });
after(async () => {
  stage.clients.forEach((client) => client.disconnect());
  if (pid) process.kill(pid, "SIGTERM");
  assert.equal(await stage.server.stop(), 0);
});

/** Has the binary replaced by itself, once. */
async function upgrade() {
  const asking = spawn(process.env.LONGWIRE, ["upgrade", "--socket", SOCKET]);
  let said = "";
  asking.stdout.on("data", (text) => { said += text; });
  const [code] = await once(asking, "close");
  assert.equal(code, 0, said);
  pid = Number(/done: process (\d+)/.exec(said)[1]);
}

/** Publishes numbers until it is told to stop; resolves to how many there were. */
async function publishing(format, client, channel, isOver, progress) {
  let count = 0;
  while (!isOver()) {
    await client.publish(channel, format.put(count));
    count += 1;
    progress(count);
  }
  return count;
}

for (const format of WEBSOCKETS) {
  test(`${format.name}: a client sees no end of its connection across upgrades, and hears all once`, async () => {
    const channel = `kept:${format.name}`;
    const [listener] = await stage.connected(format, "listener");
    const [speaker] = await stage.connected(WEBSOCKETS[0], "speaker");
    const [subscription] = await subscribed(listener, channel);
    const ends = [];
    for (const event of ["connecting", "disconnected"]) {
      for (const client of [listener, speaker]) client.on(event, (why) => ends.push([event, why]));
    }
    subscription.on("subscribing", (why) => ends.push(["subscribing", why]));
    const heard = [];
    subscription.on("publication", ({ data }) => heard.push(format.take(data)));
    let [over, count, wake] = [false, 0, () => {}];
    const progress = (now) => { count = now; wake(); };
    const done = publishing(WEBSOCKETS[0], speaker, channel, () => over, progress);
    const reached = async (target) => {
      while (count < target) await new Promise((resolve) => { wake = resolve; });
    };
    for (let round = 0; round < UPGRADES; round += 1) {
      await reached(count + BETWEEN);
      await upgrade();
    }
    await reached(count + BETWEEN);
    over = true;
    const total = await done;
    while (heard.length < total) await hear(subscription, "publication", 1);
    assert.deepEqual(heard, Array.from({ length: total }, (_, number) => number));
    assert.deepEqual(ends, []);
  });
}
