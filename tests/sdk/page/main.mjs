// Runs one file of tests in a page, as the program that opened it asks: all begin, one by one, end.

import { afters, befores, tests } from "node:test";

/** Loads the file that the address names, and sets its stage; resolves to the tests' names. */
async function begin() {
  await import(`/${location.search.slice(1)}`);
  for (const before of befores) await before();
  return tests.map(({ name }) => name);
}

async function end() {
  for (const after of afters) await after();
}

window.suite = { begin, end, run: (number) => tests[number].run() };
