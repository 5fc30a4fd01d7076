// The page of `longwire serve --dev` in a real browser: two tabs, and a restart of the server.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { freePort, Server } from "./server.mjs";

const SHOTS = process.env.SCREENSHOTS;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
let browser;
let port;
let server;

before(async () => {
  port = await freePort();
  server = await Server.start(port, "--dev");
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
  mkdirSync(SHOTS, { recursive: true });
});
after(async () => {
  await browser?.close();
  assert.equal(await server.stop(), 0);
});

const isConnected = () => document.getElementById("state").textContent === "connected"
  && !document.getElementById("send").disabled;

async function tab(context) {
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => {
    if (new URL(request.url()).hostname !== "127.0.0.1") faults.push(`asks for ${request.url()}`);
  });
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.waitForFunction(isConnected);
  return { page, faults };
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.click("#send");
}

const hears = (page, text) => page.waitForFunction(
  (wanted) => document.getElementById("messages").textContent.includes(wanted), text);

test("two tabs talk, also after the server was restarted", async () => {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 } });
  const one = await tab(context);
  const other = await tab(context);
  await say(one.page, "hello from the first tab");
  await Promise.all([one, other].map(({ page }) => hears(page, "hello from the first tab")));
  await say(other.page, "and from the second");
  await Promise.all([one, other].map(({ page }) => hears(page, "and from the second")));
  await one.page.waitForFunction(() => document.getElementById("open").textContent === "2");
  await one.page.screenshot({ path: `${SHOTS}/two-tabs.png` });

  assert.equal(await server.stop(), 0);
  await one.page.waitForFunction(() => document.getElementById("state").textContent === "connecting");
  await one.page.screenshot({ path: `${SHOTS}/server-gone.png` });
  server = await Server.start(port, "--dev");
  await Promise.all([one, other].map(({ page }) => page.waitForFunction(isConnected)));
  await say(one.page, "here again");
  await hears(other.page, "here again");
  await other.page.emulateMedia({ colorScheme: "dark" });
  await other.page.screenshot({ path: `${SHOTS}/after-restart-dark.png` });
  assert.deepEqual([...one.faults, ...other.faults], []);
});
