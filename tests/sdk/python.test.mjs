// Clients of the official Python SDK, in both formats.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { API_KEY, KEY, Stage } from "./clients.mjs";

const run = promisify(execFile);
const MEMBER = fileURLToPath(new URL("member.py", import.meta.url));
const STATES = fileURLToPath(new URL("states.py", import.meta.url));
const RUN_DEADLINE_MS = 60_000;
const NAMESPACES = [
  {
    name: "all", allow_subscribe_for_client: true, allow_publish_for_client: true,
    presence: true, allow_presence_for_subscriber: true,
    join_leave: true, force_push_join_leave: true,
    history_size: 50, history_ttl: "10m", allow_history_for_client: true, force_recovery: true,
  },
  { name: "plain", allow_subscribe_for_client: true, allow_publish_for_client: true },
  {
    name: "short", allow_subscribe_for_client: true, allow_publish_for_client: true,
    history_size: 2, history_ttl: "10m", allow_history_for_client: true, force_recovery: true,
  },
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
  context: "a client is told its id and the version of the server, and why it ends",
  resubscribed: "who unsubscribes and comes back recovers what it missed",
};
const STATE_BEHAVIOURS = {
  fresh: "from no place on, all that is kept comes",
  caught_up: "what was missed is recovered without loading the state again",
  lost: "who cannot be caught up loads the state again, and goes on from there",
  failing: "who cannot load its state tries again, and stays outside till then",
  invalidated: "who is told that its state is not valid comes back with a new token",
  cut_off: "who is cut off comes back as often, once each, with its channel",
};

let stage;
before(async () => { stage = await Stage.start(NAMESPACES); });
after(async () => { assert.equal(await stage.end(), 0); });

for (const format of ["json", "protobuf"]) {
  for (const [script, behaviours] of [[MEMBER, BEHAVIOURS], [STATES, STATE_BEHAVIOURS]]) {
    for (const [behaviour, claim] of Object.entries(behaviours)) {
      test(`Python, ${format}: ${claim}`, async () => {
        const channels = behaviour === "server_side" ? ["plain:server-side"] : undefined;
        const token = stage.token({ sub: "python", channels });
        const given = [script, stage.server.url, token, format, behaviour];
        const env = { ...process.env, TOKEN_KEY: KEY, API_KEY };
        await run(process.env.PYTHON, given, { timeout: RUN_DEADLINE_MS, env });
      });
    }
  }
}
