// What stands for `node:test` in a page: tests are collected, and run when they are asked for.

export const tests = [];
export const befores = [];
export const afters = [];

export const test = (name, run) => tests.push({ name, run });
export const before = (run) => befores.push(run);
export const after = (run) => afters.push(run);
