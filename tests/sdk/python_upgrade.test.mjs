// The server's binary is replaced while clients of the Python SDK go on.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Stage } from "./clients.mjs";

const SCRIPT = fileURLToPath(new URL("upgrade.py", import.meta.url));
const UPGRADES = 3;
const NAMESPACES = [{
  name: "kept", allow_subscribe_for_client: true, allow_publish_for_client: true,
  history_size: 1000, history_ttl: "10m", force_recovery: true,
}];

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of ["json", "protobuf"]) {
  test(`Python, ${format}: a client sees no end of its connection, and hears all once`, async () => {
    const given = [SCRIPT, stage.server.url, stage.token({ sub: "python" }), format, `kept:${format}`];
    const script = spawn(process.env.PYTHON, given, { stdio: ["pipe", "pipe", "inherit"] });
    const ended = once(script, "close");
    let upgrades = 0;
    for await (const line of createInterface({ input: script.stdout })) {
      assert.equal(line, "upgrade");
      await stage.server.upgrade();
      upgrades += 1;
      script.stdin.write("done\n");
    }
    assert.deepEqual(await ended, [0, null]);
    assert.equal(upgrades, UPGRADES);
  });
}
