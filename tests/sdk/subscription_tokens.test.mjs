// Subscription tokens with the official JavaScript SDK: getToken, expiry while subscribed, refusal,
// revocation.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { UnauthorizedError } from "centrifuge";
import { UnauthorizedError as ProtobufUnauthorizedError } from "centrifuge/build/protobuf";

import { FORMATS, refused, sign, Stage, subscribed } from "./clients.mjs";
import { next } from "./server.mjs";

const NAMESPACES = [{ name: "room", allow_publish_for_subscriber: true }];
/** Long enough that a busy machine prolongs in time, short enough to wait for. */
const LIFE_S = 3;

let stage;
before(async () => {
  stage = await Stage.start(NAMESPACES, "--client-expired-sub-close-delay", "5s");
});
after(async () => { assert.equal(await stage.end(), 0); });

const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;
const tokenOf = (channel, claims = {}) => sign({ sub: "ann", channel, ...claims });

const done = async (method, body) => assert.deepEqual(await stage.api(method, body), { result: {} });

for (const format of FORMATS) {
  const channel = (name) => `$room:${name}-${format.name.replace("/", "-")}`;

  test(`${format.name}: a private channel is open to who brings its token`, async () => {
    const name = channel("private");
    const [client] = await stage.connected(format, "ann");
    const { code } = await refused(client, name.replace("private", "other"));
    assert.equal(code, 103, "without a token");
    const asked = [];
    const getToken = async (context) => {
      asked.push(context.channel);
      return tokenOf(name);
    };
    const [subscription] = await subscribed(client, name, { getToken });
    const heard = next(subscription, "publication");
    await subscription.publish(format.put(7));
    assert.deepEqual([format.take((await heard).data), asked], [7, [name]]);
  });

  test(`${format.name}: a subscription is prolonged before it ends, and goes on`, async () => {
    const name = channel("prolonged");
    let asked = 0;
    let prolonged;
    const enough = new Promise((resolve) => { prolonged = resolve; });
    const getToken = async () => {
      asked += 1;
      if (asked === 3) prolonged();
      return tokenOf(name, { exp: inSeconds(asked < 3 ? LIFE_S : 3600) });
    };
    const [client] = await stage.connected(format, "ann");
    const states = [];
    const subscription = client.newSubscription(name, { getToken });
    subscription.on("state", ({ newState }) => states.push(newState));
    const first = next(subscription, "subscribed");
    subscription.subscribe();
    await first;
    await enough;
    const heard = next(subscription, "publication");
    await subscription.publish(format.put(7));
    await heard;
    assert.deepEqual(states, ["subscribing", "subscribed"], "it was never away");
  });

  test(`${format.name}: an expired token is exchanged for a new one`, async () => {
    const name = channel("expired");
    const [client] = await stage.connected(format, "ann");
    const subscription = client.newSubscription(name, {
      token: tokenOf(name, { exp: inSeconds(-5) }),
      getToken: async () => tokenOf(name),
      minResubscribeDelay: 50,
    });
    const failed = next(subscription, "error");
    const entered = next(subscription, "subscribed");
    subscription.subscribe();
    assert.equal((await failed).error.code, 109);
    await entered;
  });

  test(`${format.name}: whose token is refused is unsubscribed with the reason`, async () => {
    const name = channel("refused");
    const [client] = await stage.connected(format, "ann");
    const forged = sign({ sub: "ann", channel: name }, "another key");
    const { code, reason } = await refused(client, name, { getToken: async () => forged });
    assert.equal(code, 103);
    assert.match(reason, /^invalid token/);
    const Unauthorized = [UnauthorizedError, ProtobufUnauthorizedError];
    const isJson = format.name.startsWith("JSON");
    const getToken = async () => { throw new Unauthorized[isJson ? 0 : 1]("no"); };
    const told = await refused(client, channel("unauthorized"), { getToken });
    assert.deepEqual([told.code, told.reason], [1, "unauthorized"]);
    assert.equal(client.state, "connected");
  });

  test(`${format.name}: the token of another channel or user ends the connection`, async () => {
    const name = channel("mine");
    for (const claims of [{ channel: channel("theirs") }, { sub: "bob" }]) {
      const [client] = await stage.connected(format, "ann");
      const ended = next(client, "disconnected");
      client.newSubscription(name, { token: tokenOf(name, claims) }).subscribe();
      assert.equal((await ended).code, 3500);
    }
  });

  // A token may be over before it arrives, on a slow machine: the back end hangs only once its
  // client is in.
  test(`${format.name}: who brings no new token in time hears 2501, and comes back`, async () => {
    const name = channel("late");
    let [isIn, isHanging] = [false, false];
    const getToken = async () => {
      if (!isIn) return tokenOf(name, { exp: inSeconds(LIFE_S) });
      if (isHanging) return tokenOf(name);
      isHanging = true;
      return new Promise(() => {});
    };
    const [client] = await stage.connected(format, "ann");
    const [subscription] = await subscribed(client, name, { getToken, minResubscribeDelay: 50 });
    isIn = true;
    const back = new Promise((resolve) => { subscription.on("subscribed", resolve); });
    const { code, reason } = await next(subscription, "subscribing");
    assert.deepEqual([code, reason], [2501, "subscription expired"]);
    await back;
    assert.deepEqual([isHanging, client.state], [true, "connected"]);
  });

  test(`${format.name}: who came with a revoked token is out for good`, async () => {
    const [mine, theirs] = [{ sub: "ann", jti: channel("one") }, { sub: "ann", jti: "another" }];
    const [client] = await stage.connected(format, mine);
    const [other] = await stage.connected(format, theirs);
    const ended = next(client, "disconnected");
    await done("revoke_token", { uid: channel("one"), expire_at: inSeconds(3600) });
    const { code, reason } = await ended;
    assert.deepEqual([code, reason], [3500, "invalid token: it was revoked"]);
    const again = stage.client(format, mine);
    const refusal = next(again, "disconnected");
    again.connect();
    assert.equal((await refusal).code, 3500);
    assert.equal(other.state, "connected");
  });

  test(`${format.name}: whose state is said to be invalid comes back with new tokens`, async () => {
    const [name, user] = [channel("invalidated"), channel("user")];
    const asked = [];
    const asks = (who, claims) => async () => {
      asked.push(who);
      return sign({ sub: user, ...claims });
    };
    const [client] = await stage.connected(format, user, { getToken: asks("client") });
    const getToken = asks("subscription", { channel: name });
    const [subscription] = await subscribed(client, name, { getToken });
    const lost = next(client, "connecting");
    const back = next(subscription, "subscribed");
    const why = { code: 3014, reason: "state invalidated" };
    await done("disconnect", { user, disconnect: why });
    const { code, reason } = await lost;
    assert.deepEqual({ code, reason }, why);
    await back;
    assert.deepEqual(asked, ["subscription", "client", "subscription"]);
  });
}
