// Clients of both builds of the JavaScript SDK, that a test can drop and let come back.

import { Centrifuge as JsonClient } from "centrifuge";
import { Centrifuge as ProtobufClient } from "centrifuge/build/protobuf";
import EventSource from "eventsource";
import WebSocket from "ws";

import { freePort, next, Server } from "./server.mjs";
import { KEY, sign } from "./token.mjs";

export { KEY, sign };

/** What a back end shows to the server's API. */
export const API_KEY = "a key of back ends";

/** How long an SDK waits for an answer. Its own 5 s can be short on a busy machine. */
export const PATIENCE = { timeout: 30_000 };

/** The two builds, and how values are put into their publications and taken out. */
export const WEBSOCKETS = [
  { name: "JSON", build: "centrifuge.js", Client: JsonClient, put: (value) => value, take: (data) => data },
  {
    name: "Protobuf",
    build: "centrifuge.protobuf.js",
    Client: ProtobufClient,
    put: (value) => new TextEncoder().encode(JSON.stringify(value)),
    take: (data) => JSON.parse(new TextDecoder().decode(data)),
  },
];

const [JSON_LINES, LENGTHS] = WEBSOCKETS;

/** The same over what the SDK falls back on where no WebSocket gets through. */
export const STREAMS = [
  { ...JSON_LINES, name: "JSON/http_stream", transport: "http_stream" },
  { ...LENGTHS, name: "Protobuf/http_stream", transport: "http_stream" },
  { ...JSON_LINES, name: "JSON/sse", transport: "sse" },
];

/** Everything that a client can speak. */
export const FORMATS = [...WEBSOCKETS, ...STREAMS];

/** Nobody listens there: a client that is kept away is sent to it. */
const NOWHERE = "//127.0.0.1:1/";

/** A client's way to its server, which can be cut as a network is. */
class Gate {
  isOpen = true;
  /** The last WebSocket. */
  socket = undefined;
  /** What ends each connection that there is. */
  ends = new Set();

  cut() {
    this.isOpen = false;
    for (const end of this.ends) end();
    this.ends.clear();
  }

  /** What the SDK is to connect with. */
  ways() {
    const gate = this;
    class GatedSocket extends WebSocket {
      constructor(url, ...rest) {
        super(gate.isOpen ? url : `ws:${NOWHERE}`, ...rest);
        gate.socket = this;
        gate.ends.add(() => this.terminate());
      }
    }
    class GatedSource extends EventSource {
      constructor(url, ...rest) {
        super(gate.isOpen ? url : `http:${NOWHERE}`, ...rest);
        gate.ends.add(() => this.onerror?.({ message: "cut" }));
      }
    }
    const gatedFetch = (url, { signal, ...rest }) => {
      const breaker = new AbortController();
      gate.ends.add(() => breaker.abort());
      const both = AbortSignal.any([breaker.signal, ...(signal ? [signal] : [])]);
      return fetch(gate.isOpen ? url : `http:${NOWHERE}`, { ...rest, signal: both });
    };
    return { websocket: GatedSocket, eventsource: GatedSource, fetch: gatedFetch };
  }
}

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
      "--http-stream-enabled", "--sse-enabled", "--http-api-key", API_KEY,
      "--channel-namespaces", JSON.stringify(namespaces), ...flags,
    );
    return new Stage(server);
  }

  token(claims) {
    return sign(claims);
  }

  /** What the server's API answers to a back end. */
  api(method, body) {
    return this.server.api(method, API_KEY, body);
  }

  /** Ends all clients and the server; resolves to its exit code. */
  async end() {
    this.clients.forEach((client) => client.disconnect());
    return this.server.stop();
  }

  /** A client with this user's token, or with the claims of another one. */
  client(format, claims, options = {}) {
    const gate = new Gate();
    const { transport } = format;
    const endpoint = `${this.server.http}/connection/${transport}`;
    const token = sign(typeof claims === "string" ? { sub: claims } : claims);
    const client = new format.Client(transport ? [{ transport, endpoint }] : this.server.url, {
      ...gate.ways(), emulationEndpoint: `${this.server.http}/emulation`, token,
      minReconnectDelay: 50, maxReconnectDelay: 200, ...PATIENCE, ...options,
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
  const lost = next(client, "connecting");
  client.gate.cut();
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
