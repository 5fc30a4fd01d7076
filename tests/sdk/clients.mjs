// Clients of both builds of the JavaScript SDK, that a test can drop and let come back.

import { createHmac } from "node:crypto";

import { Centrifuge as JsonClient } from "centrifuge";
import { Centrifuge as ProtobufClient } from "centrifuge/build/protobuf";
import WebSocket from "ws";

import { freePort, next, Server } from "./server.mjs";

export const KEY = "a key of tests";

/** The two builds, and how values are put into their publications and taken out. */
export const FORMATS = [
  { name: "JSON", Client: JsonClient, put: (value) => value, take: (data) => data },
  {
    name: "Protobuf",
    Client: ProtobufClient,
    put: (value) => new TextEncoder().encode(JSON.stringify(value)),
    take: (data) => JSON.parse(new TextDecoder().decode(data)),
  },
];

/** A token of these claims. */
export function sign(claims, key = KEY) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
}

/** Nobody listens there: a client that is kept away is sent to it. */
const NOWHERE = "ws://127.0.0.1:1/";

/** A server, and the clients of its test, which end together. */
export class Stage {
  constructor(server) {
    this.server = server;
    this.clients = [];
  }

  /** A server of three shards with these namespaces, and with these flags. */
  static async start(namespaces, ...flags) {
    const server = await Server.start(
      await freePort(), "--shards", "3", "--client-token-hmac-secret-key", KEY,
      "--channel-namespaces", JSON.stringify(namespaces), ...flags,
    );
    return new Stage(server);
  }

  token(claims) {
    return sign(claims);
  }

  /** Ends all clients and the server; resolves to its exit code. */
  async end() {
    this.clients.forEach((client) => client.disconnect());
    return this.server.stop();
  }

  /** A client with this user's token, or with the claims of another one. */
  client(format, claims, options = {}) {
    const gate = { isOpen: true, socket: undefined };
    class Gated extends WebSocket {
      constructor(url, ...rest) {
        super(gate.isOpen ? url : NOWHERE, ...rest);
        gate.socket = this;
      }
    }
    const token = sign(typeof claims === "string" ? { sub: claims } : claims);
    const client = new format.Client(this.server.url, {
      websocket: Gated, token, minReconnectDelay: 50, maxReconnectDelay: 200, ...options,
    });
    client.gate = gate;
    this.clients.push(client);
    return client;
  }

  async connected(format, claims, options) {
    const client = this.client(format, claims, options);
    const opened = next(client, "connected");
    client.connect();
    return [client, await opened];
  }
}

/** Cuts a client's connection as a network does; it stays away until `letBack`. */
export async function drop(client) {
  client.gate.isOpen = false;
  const lost = next(client, "connecting");
  client.gate.socket.terminate();
  await lost;
}

export function letBack(client) {
  client.gate.isOpen = true;
}

/** A new subscription, and what it was told when it began. */
export async function subscribed(client, channel, options = {}) {
  const subscription = client.newSubscription(channel, options);
  const done = next(subscription, "subscribed");
  subscription.subscribe();
  return [subscription, await done];
}

/** What a subscription ends with that is refused. */
export async function refused(client, channel, options = {}) {
  const subscription = client.newSubscription(channel, options);
  const ended = next(subscription, "unsubscribed");
  subscription.subscribe();
  return ended;
}

/** The next `count` events of a kind, in their order. */
export function hear(emitter, event, count) {
  return new Promise((resolve) => {
    const heard = [];
    const take = (context) => {
      heard.push(context);
      if (heard.length === count) {
        emitter.off(event, take);
        resolve(heard);
      }
    };
    emitter.on(event, take);
  });
}

/** Publishes these values one after the other. */
export async function publish(format, client, channel, values) {
  for (const value of values) await client.publish(channel, format.put(value));
}
