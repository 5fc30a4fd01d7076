// Clients of the official Python SDK, in both formats.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { KEY, Stage } from "./clients.mjs";

const run = promisify(execFile);
const SCRIPT = fileURLToPath(new URL("member.py", import.meta.url));
const RUN_DEADLINE_MS = 60_000;
const NAMESPACES = [
  {
    name: "all", allow_subscribe_for_client: true, allow_publish_for_client: true,
    presence: true, allow_presence_for_subscriber: true,
    join_leave: true, force_push_join_leave: true,
    history_size: 50, history_ttl: "10m", allow_history_for_client: true, force_recovery: true,
  },
  { name: "plain", allow_subscribe_for_client: true, allow_publish_for_client: true },
];
const BEHAVIOURS = {
  talk: "two clients talk, each hears both, and who it was",
  presence: "presence, its stats, and who comes and goes",
  history: "history in pages and backwards, and what is refused",
  recovery: "what was missed while the wire was cut comes first, and the rest follows",
  server_side: "a client is in the channels of its token, and hears them",
  forged: "a forged token is the end, with its reason",
  again: "a client that comes and goes in a loop is there once",
  many: "many subscriptions come and go side by side",
  private_channel: "a private channel is open to who brings its token, and an expired one is exchanged",
  prolonged: "a subscription is prolonged before it ends, and goes on",
  refused: "whose token is refused, or who may have none, is told so",
  refreshed: "a connection is refreshed before it ends, and goes on",
};

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of ["json", "protobuf"]) {
  for (const [behaviour, claim] of Object.entries(BEHAVIOURS)) {
    test(`Python, ${format}: ${claim}`, async () => {
      const channels = behaviour === "server_side" ? ["plain:server-side"] : undefined;
      const token = stage.token({ sub: "python", channels });
      const given = [SCRIPT, stage.server.url, token, format, behaviour];
      const env = { ...process.env, TOKEN_KEY: KEY };
      await run(process.env.PYTHON, given, { timeout: RUN_DEADLINE_MS, env });
    });
  }
}
