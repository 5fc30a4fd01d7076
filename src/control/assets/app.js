// The page of `longwire serve --dev`: a chat over the official SDK, and the server's counters.
"use strict";

const CHANNEL = "chat";
const MESSAGES_MAX = 200;
const COUNTERS_EVERY_MS = 1000;
const ROUND_TRIP_EVERY_MS = 2000;

const element = (id) => document.getElementById(id);
const show = (id, text) => { element(id).textContent = text; };

// --- The chat -----------------------------------------------------------------------------------

// A tab is a person. Its name is not stored: a duplicated tab would take it along.
const name = `tab-${crypto.getRandomValues(new Uint16Array(1))[0].toString(36)}`;

const scheme = location.protocol === "https:" ? "wss" : "ws";
const centrifuge = new Centrifuge(`${scheme}://${location.host}${WEBSOCKET_PATH}`);
const subscription = centrifuge.newSubscription(CHANNEL);

centrifuge.on("state", ({ newState }) => {
  show("state", newState);
  element("state").dataset.state = newState;
});
centrifuge.on("connected", ({ client, transport }) => {
  show("client", client);
  show("transport", transport);
  show("notice", "");
  measureRoundTrip();
});
centrifuge.on("connecting", ({ code, reason }) => lost(code, reason, "connecting again"));
centrifuge.on("disconnected", ({ code, reason }) => lost(code, reason, "reload to try again"));
centrifuge.on("error", ({ error }) => show("notice", error.message));

subscription.on("subscribed", () => { element("send").disabled = false; });
subscription.on("subscribing", () => { element("send").disabled = true; });
subscription.on("unsubscribed", ({ code, reason }) => {
  element("send").disabled = true;
  show("notice", `no longer in the channel: ${reason} (${code})`);
});
subscription.on("publication", ({ data }) => append(data));

element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = element("text");
  const text = input.value.trim();
  if (text === "") return;
  try {
    await subscription.publish({ name, text });
    input.value = "";
    show("notice", "");
  } catch (error) {
    show("notice", `not sent: ${error.message} (${error.code})`);
  }
});

function lost(code, reason, next) {
  element("send").disabled = true;
  show("round-trip", "–");
  // Code 0 is the page's own call of `connect`.
  if (code !== 0) show("notice", `connection lost: ${reason} (${code}), ${next}`);
}

// Back ends may publish anything: whatever is no message of ours is shown as it is.
function append(data) {
  const isMessage = typeof data?.name === "string" && typeof data?.text === "string";
  const author = document.createElement("small");
  author.textContent = `${isMessage ? data.name : "server"} · ${new Date().toLocaleTimeString()}`;
  const item = document.createElement("li");
  item.className = isMessage && data.name === name ? "own" : "";
  item.append(author, isMessage ? data.text : JSON.stringify(data));
  const messages = element("messages");
  messages.append(item);
  while (messages.children.length > MESSAGES_MAX) messages.firstElementChild.remove();
  messages.scrollTop = messages.scrollHeight;
}

// The protocol has no command that only measures: the smallest one that is always answered is
// used, and an error is an answer too.
async function measureRoundTrip() {
  if (centrifuge.state !== "connected") return;
  const since = performance.now();
  try {
    await subscription.presenceStats();
  } catch (error) {
    if (error.code < 100) return; // the SDK's own: nothing came back
  }
  show("round-trip", `${(performance.now() - since).toFixed(1)} ms`);
}

// --- The server's counters ----------------------------------------------------------------------

let before = null;

async function poll() {
  try {
    const answer = await fetch("/dev/counters");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    draw(await answer.json(), performance.now());
  } catch {
    before = null;
    for (const id of ["open", "received", "published", "sent", "memory"]) show(id, "–");
    drawShards([]);
  }
}

function draw(counters, now) {
  show("version", `longwire ${counters.version}`);
  show("open", counters.open.toLocaleString());
  show("memory", `${(counters.resident_bytes / 2 ** 20).toFixed(1)} MiB`);
  for (const id of ["received", "published", "sent"]) {
    // Totals below the last ones are another process's.
    const isFirst = before === null || counters[id] < before.counters[id];
    if (isFirst) { show(id, "–"); continue; }
    const seconds = (now - before.now) / 1000;
    const rate = (counters[id] - before.counters[id]) / seconds;
    show(id, rate.toLocaleString(undefined, { maximumFractionDigits: 1 }));
  }
  before = { counters, now };
  drawShards(counters.shards);
}

function drawShards(shards) {
  const list = element("shards");
  while (list.children.length > shards.length) list.lastElementChild.remove();
  while (list.children.length < shards.length) {
    const item = document.createElement("li");
    const label = document.createElement("span");
    label.textContent = `shard ${list.children.length}`;
    item.append(label, document.createElement("progress"), document.createElement("span"));
    list.append(item);
  }
  const most = Math.max(1, ...shards);
  shards.forEach((connections, shard) => {
    const [, bar, count] = list.children[shard].children;
    bar.max = most;
    bar.value = connections;
    count.textContent = connections.toLocaleString();
  });
}

show("command", `curl -d '{"channel":"${CHANNEL}","data":"hello"}' ${location.origin}/api/publish`);
subscription.subscribe();
centrifuge.connect();
poll();
setInterval(poll, COUNTERS_EVERY_MS);
setInterval(measureRoundTrip, ROUND_TRIP_EVERY_MS);
