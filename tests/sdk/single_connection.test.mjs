// A user has one connection, the last, in both formats of the JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { FORMATS, Stage } from "./clients.mjs";
import { next } from "./server.mjs";

let stage;
before(async () => {
  stage = await Stage.start([], "--client-subscribe-to-user-personal-channel-enabled",
    "--client-subscribe-to-user-personal-channel-single-connection");
});
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of FORMATS) {
  test(`${format.name}: the next connection of a user ends the one before it for good`, async () => {
    const user = `ann-${format.name}`;
    let last;
    for (let round = 0; round < 4; round += 1) {
      const ended = last && next(last, "disconnected");
      const [client] = await stage.connected(format, user);
      if (ended) {
        const { code, reason } = await ended;
        assert.deepEqual([code, reason], [3504, "connection limit"]);
      }
      last = client;
    }
    const [stranger] = await stage.connected(format, `bob-${format.name}`);
    await assert.rejects(stranger.rpc("a", format.put(1)), { code: 108 });
    await assert.rejects(last.rpc("a", format.put(1)), { code: 108 });
    assert.deepEqual([stranger.state, last.state], ["connected", "connected"]);
  });
}
