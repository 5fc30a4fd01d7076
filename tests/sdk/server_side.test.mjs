// Channels that the server puts a client into, by its token or of its user's own, in both formats
// of the JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { drop, FORMATS, letBack, publish, refused, Stage } from "./clients.mjs";
import { next } from "./server.mjs";

const kept = { history_size: 50, history_ttl: "10m", force_recovery: true };
const NAMESPACES = [
  { name: "news", allow_publish_for_client: true, allow_subscribe_for_client: true },
  { name: "kept", allow_publish_for_client: true, ...kept },
  { name: "user", allow_publish_for_client: true },
];
const FLAGS = [
  "--client-channel-limit", "4",
  "--client-subscribe-to-user-personal-channel-enabled",
  "--client-subscribe-to-user-personal-channel-personal-channel-namespace", "user",
];

let stage;
before(async () => { stage = await Stage.start(NAMESPACES, ...FLAGS); });
after(async () => { assert.equal(await stage.end(), 0); });

/** The next event of a client about this channel. */
function about(client, event, channel) {
  return new Promise((resolve) => {
    const take = (context) => {
      if (context.channel !== channel) return;
      client.off(event, take);
      resolve(context);
    };
    client.on(event, take);
  });
}

for (const format of FORMATS) {
  const inFormat = (name) => `${name}-${format.name}`;

  test(`${format.name}: a client is in the channels of its token, and hears them`, async () => {
    const channels = [inFormat("news:a"), inFormat("news:b")];
    const client = stage.client(format, { sub: inFormat("ann"), channels });
    const began = channels.map((channel) => about(client, "subscribed", channel));
    client.connect();
    for (const { wasRecovering } of await Promise.all(began)) assert.equal(wasRecovering, false);
    const heard = about(client, "publication", channels[1]);
    await publish(format, client, channels[1], ["hello"]);
    assert.equal(format.take((await heard).data), "hello");
  });

  test(`${format.name}: the subs of a token say what goes with a channel`, async () => {
    const channel = inFormat("news:with-data");
    const subs = { [channel]: { data: { topic: 1 } } };
    const client = stage.client(format, { sub: inFormat("ann"), subs });
    const began = about(client, "subscribed", channel);
    client.connect();
    assert.deepEqual(format.take((await began).data), { topic: 1 });
  });

  test(`${format.name}: what was missed in such a channel is recovered`, async () => {
    const channel = inFormat("kept:a");
    const client = stage.client(format, { sub: inFormat("ann"), channels: [channel] });
    const began = about(client, "subscribed", channel);
    client.connect();
    const { recoverable, positioned } = await began;
    assert.deepEqual([recoverable, positioned], [true, true]);
    const [writer] = await stage.connected(format, inFormat("bob"));
    const first = about(client, "publication", channel);
    await publish(format, writer, channel, [1]);
    assert.equal((await first).offset, 1);
    await drop(client);
    await publish(format, writer, channel, [2, 3]);
    const heard = [];
    const all = new Promise((resolve) => {
      client.on("publication", ({ channel: of, data }) => {
        if (of !== channel) return;
        heard.push(format.take(data));
        if (heard.length === 3) resolve();
      });
    });
    const back = about(client, "subscribed", channel);
    letBack(client);
    const { wasRecovering, recovered } = await back;
    assert.deepEqual([wasRecovering, recovered], [true, true]);
    await publish(format, writer, channel, [4]);
    await all;
    assert.deepEqual(heard, [2, 3, 4]);
  });

  test(`${format.name}: every user has a channel of its own`, async () => {
    const own = `user:#${inFormat("own")}`;
    const one = stage.client(format, inFormat("own"));
    const other = stage.client(format, inFormat("own"));
    const began = [one, other].map((client) => about(client, "subscribed", own));
    one.connect();
    other.connect();
    await Promise.all(began);
    const heard = [one, other].map((client) => about(client, "publication", own));
    const [stranger] = await stage.connected(format, inFormat("stranger"));
    await publish(format, stranger, own, ["to you"]);
    for (const { data } of await Promise.all(heard)) assert.equal(format.take(data), "to you");
  });

  test(`${format.name}: a client cannot subscribe to what it was put into`, async () => {
    const channel = inFormat("news:twice");
    const [client] = await stage.connected(format, { sub: inFormat("ann"), channels: [channel] });
    assert.equal((await refused(client, channel)).code, 105);
  });

  test(`${format.name}: more channels than a client may be in end it for good`, async () => {
    const channels = [1, 2, 3, 4].map((number) => inFormat(`news:${number}`));
    const client = stage.client(format, { sub: inFormat("many"), channels });
    const ended = next(client, "disconnected");
    client.connect();
    const { code, reason } = await ended;
    assert.deepEqual([code, reason], [3505, "channel limit"]);
  });

  test(`${format.name}: a channel that the next token does not name is left`, async () => {
    const channel = inFormat("news:gone");
    let asked = 0;
    const getToken = async () => {
      asked += 1;
      return stage.token({ sub: inFormat("ann"), channels: [] });
    };
    const claims = { sub: inFormat("ann"), channels: [channel] };
    const [client] = await stage.connected(format, claims, { getToken });
    const left = about(client, "unsubscribed", channel);
    client.disconnect();
    client.setToken("");
    client.connect();
    await left;
    assert.equal(asked, 1);
  });

  test(`${format.name}: a token with other channels brings the client back for them`, async () => {
    const [before, after] = [inFormat("news:before"), inFormat("news:after")];
    const claims = (channel, seconds) => ({
      sub: inFormat("ann"), channels: [channel], exp: Math.floor(Date.now() / 1000) + seconds,
    });
    const getToken = async () => stage.token(claims(after, 3600));
    const client = stage.client(format, claims(before, 5), { getToken });
    const began = about(client, "subscribed", before);
    client.connect();
    await began;
    const [lost, left] = [next(client, "connecting"), about(client, "unsubscribed", before)];
    const came = about(client, "subscribed", after);
    assert.equal((await lost).code, 3010);
    await Promise.all([came, left]);
  });
}
