// Acknowledged delivery to clients that lose three publications of ten and three acknowledgements
// of ten, by the recipes of the README, word for word: all of it arrives, and nothing twice.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { FORMATS, KEY, publish, Stage } from "./clients.mjs";
import { freePort, INTERNAL_PORT } from "./server.mjs";

const run = promisify(execFile);
const open = { allow_subscribe_for_client: true, allow_publish_for_client: true, acknowledged: true };
const NAMESPACES = [
  { name: "acked", ...open },
  { name: "kept", ...open, history_size: 100, history_ttl: "10m", force_recovery: true },
];
const COUNT = 30;
const NUMBERS = Array.from({ length: COUNT }, (_, at) => at + 1);
/** What is sent again waits for one second at first, and then twice as long each time. */
const RUN_DEADLINE_MS = 100_000;
const LOOK_EVERY_MS = 50;

/** Of 256: three of ten, near enough. */
const LOST_OF_256 = 77;
/** With these losses some are sent four times, and none five times: that would only take longer. */
const SALT = 159;
/** So many of 64 and of 45 attempts are lost, or more where others are lost with the connection. */
const LOSSES_MIN = { delivery: 19, ack: 15 };

/** Whether an attempt is lost: the same in every run, whatever comes first. */
function isLost(kind, number, attempt) {
  const words = `${SALT}:${kind}:${number}:${attempt}`;
  return createHash("sha256").update(words).digest()[0] < LOST_OF_256;
}

/** The code of the README in this language with the recipe, as it stands there. */
async function recipe(language) {
  const readme = await readFile(new URL("README.md", import.meta.url), "utf8");
  const blocks = readme.split("```").filter((_, at) => at % 2 === 1);
  const [code] = blocks.filter((one) => one.startsWith(`${language}\n`) && / once\(/.test(one));
  return code.slice(language.length + 1);
}

/** A client and a subscription as the recipe sees them, which lose what `isLost` says. */
function lossy(format, client, subscription) {
  const counts = { delivery: 0, ack: 0, again: 0 };
  const attempts = new Map();
  const numbers = new Map();
  const loses = (kind, number) => {
    const key = `${kind} ${number}`;
    const attempt = (attempts.get(key) ?? 0) + 1;
    attempts.set(key, attempt);
    const lost = isLost(kind, number, attempt);
    counts[kind] += Number(lost);
    return lost;
  };
  const on = (event, take) => subscription.on(event, (context) => {
    const number = format.take(context.data);
    numbers.set(context.tags.lw_id, number);
    counts.again += Number(context.tags.lw_try !== undefined);
    if (!loses("delivery", number)) take(context);
  });
  const rpc = async (method, data) => {
    const [id] = format.take(data).ids;
    if (loses("ack", numbers.get(id))) throw new Error("lost");
    return client.rpc(method, data);
  };
  return { counts, subscription: { on }, client: { rpc } };
}

let stage;
let internal;
before(async () => {
  internal = await freePort();
  stage = await Stage.start(NAMESPACES, INTERNAL_PORT, String(internal));
});
after(async () => { assert.equal(await stage.end(), 0); });

/** A counter of the server, by its name. */
async function counter(name) {
  const text = await (await fetch(`http://127.0.0.1:${internal}/metrics`)).text();
  return Number(text.match(new RegExp(`^longwire_${name}_total (\\d+)$`, "m"))[1]);
}

/** Publishes to a lossy client whose connection is cut once while they come, too. */
async function sayAllTo(format, namespace, once) {
  const channel = `${namespace}:${format.name}`;
  const [client] = await stage.connected(format, `${namespace} ${format.name}`);
  const subscription = client.newSubscription(channel);
  const applied = [];
  const { counts, ...seenThrough } = lossy(format, client, subscription);
  const encode = (value) => format.put(value);
  once(seenThrough.client, seenThrough.subscription, new Set(),
    (data) => applied.push(format.take(data)), encode);
  subscription.subscribe();
  await subscription.ready();
  const [writer] = await stage.connected(format, "writer");
  for (const number of NUMBERS) {
    await publish(format, writer, channel, [number]);
    if (number === COUNT / 2) {
      client.gate.cut();
      client.gate.isOpen = true;
    }
  }
  return { format, applied, counts };
}

test("JavaScript: who loses three of ten both ways gets all, and gives each on once", async () => {
  const source = `${await recipe("js")}\nexport { once };`;
  const { once } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
  const readers = await Promise.all(
    FORMATS.flatMap((format) => NAMESPACES.map(({ name }) => sayAllTo(format, name, once))),
  );
  const all = readers.length * COUNT;
  while (await counter("acks_acknowledged") < all) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  for (const { format, applied, counts } of readers) {
    assert.deepEqual(applied.toSorted((one, other) => one - other), NUMBERS, format.name);
    for (const [kind, least] of Object.entries(LOSSES_MIN)) {
      assert.ok(counts[kind] >= least, JSON.stringify(counts));
    }
    assert.ok(counts.again >= counts.delivery, "each that was lost came again");
  }
  assert.deepEqual([await counter("acks_retained"), await counter("acks_lost")], [all, 0]);
});

for (const format of ["json", "protobuf"]) {
  test(`Python, ${format}: who loses three of ten both ways gets all, and gives each on once`, async () => {
    const token = stage.token({ sub: `python ${format}` });
    const env = {
      ...process.env, TOKEN_KEY: KEY, RECIPE: await recipe("python"),
      COUNT, SALT, LOST_OF_256,
    };
    const given = ["lossy.py", stage.server.url, token, format, "all"];
    await run(process.env.PYTHON, given, { timeout: RUN_DEADLINE_MS, env });
  });
}
