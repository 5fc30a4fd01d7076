// The tests of the JavaScript SDK once more, in a real browser: the same files, in a page that
// loads them as modules. What a browser does not have stands beside this file, in `page/`.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { freePort, Server } from "./server.mjs";
import { sign } from "./token.mjs";

/** Those that need nothing but the SDK and a server. */
const FILES = [
  "comings_and_goings", "delta", "get_state", "history", "presence", "recovery", "refusals",
  "server_side", "single_connection", "subscription_tokens", "tags_filter", "throng",
  "upgrade",
];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const TEST_DEADLINE_MS = 180_000;
/** Where what a page loads lies, in this order. */
const FOLDERS = ["page/", "./"];
const KINDS = { html: "text/html", mjs: "text/javascript", js: "text/javascript" };

/** The servers of the pages, by their ports. */
const servers = new Map();

/** What a page asks for that it cannot do itself. */
const ERRANDS = {
  async start(...flags) {
    const server = await Server.start(await freePort(), ...flags);
    servers.set(server.port, server);
    return server.port;
  },
  upgrade: (port) => servers.get(port).upgrade(),
  stop: (port) => servers.get(port).stop(),
  api: (port, ...asked) => servers.get(port).api(...asked),
  sign,
};

async function errand(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const given = JSON.parse(Buffer.concat(parts));
  const answer = await ERRANDS[request.url.slice(1)](...given);
  response.end(JSON.stringify(answer ?? null));
}

async function file(path, response) {
  const name = path === "/" ? "index.html" : path.slice(1);
  for (const folder of FOLDERS) {
    const content = await readFile(new URL(folder + name, import.meta.url)).catch(() => undefined);
    if (content === undefined) continue;
    response.setHeader("Content-Type", KINDS[name.split(".").at(-1)] ?? "text/plain");
    return response.end(content);
  }
  response.statusCode = 404;
  return response.end();
}

let pages;
let browser;
before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
  pages = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    const done = request.method === "POST" ? errand(request, response) : file(pathname, response);
    done.catch((error) => {
      response.statusCode = 500;
      response.end(String(error));
    });
  }).listen(0, "127.0.0.1");
  await once(pages, "listening");
});
after(async () => {
  await browser?.close();
  pages?.closeAllConnections();
  pages?.close();
  for (const server of servers.values()) assert.equal(await server.stop(), 0);
});

for (const name of FILES) {
  test(`Chromium: ${name}`, async (t) => {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${pages.address().port}/?${name}.test.mjs`);
    const names = await page.evaluate(() => window.suite.begin());
    assert.ok(names.length > 0);
    for (const [number, claim] of names.entries()) {
      const run = () => page.evaluate((one) => window.suite.run(one), number);
      await t.test(`Chromium, ${claim}`, { timeout: TEST_DEADLINE_MS }, run);
    }
    await page.evaluate(() => window.suite.end());
    await page.close();
  });
}
