// The whole server API by the official Python client, and what clients see of it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { API_KEY, FORMATS, Stage } from "./clients.mjs";
import { next } from "./server.mjs";

const run = promisify(execFile);
const NAMESPACES = [{ name: "kept", history_size: 50, history_ttl: "10m", presence: true }];

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

function script(name, ...rest) {
  const path = fileURLToPath(new URL(name, import.meta.url));
  return run(process.env.PYTHON, [path, `${stage.server.http}/api`, API_KEY, ...rest]);
}

const api = (method, body) => stage.api(method, body);

test("cent asks for everything, and is answered as it expects", async () => {
  const { stdout } = await script("cent_all.py");
  assert.ok(Number(stdout) > 30, stdout);
});

for (const format of FORMATS) {
  test(`${format.name}: a back end puts a client in, out, and away`, async () => {
    const user = `ann-${format.name}`;
    const channel = `kept:${format.name}`;
    const client = stage.client(format, user);
    const connected = next(client, "connected");
    client.connect();
    await connected;

    await api("publish", { channel, data: "before" });
    const subscribed = next(client, "subscribed");
    const heard = [];
    const two = new Promise((resolve) => {
      client.on("publication", ({ data }) => { if (heard.push(format.take(data)) === 2) resolve(); });
    });
    const done = { result: {} };
    assert.deepEqual(await api("subscribe", {
      user, channel, data: { welcome: 1 }, recover_since: { offset: 0 },
      override: { force_recovery: { value: true } },
    }), done);
    assert.deepEqual(format.take((await subscribed).data), { welcome: 1 });
    await api("publish", { channel, data: "after" });
    await two;
    assert.deepEqual(heard, ["before", "after"]);

    const unsubscribed = next(client, "unsubscribed");
    assert.deepEqual(await api("unsubscribe", { user, channel }), done);
    assert.equal((await unsubscribed).channel, channel);

    const disconnected = next(client, "disconnected");
    const why = { code: 4777, reason: "by hand" };
    assert.deepEqual(await api("disconnect", { user, disconnect: why }), done);
    const { code, reason } = await disconnected;
    assert.deepEqual({ code, reason }, why);
  });
}
