// What stands for `node:assert/strict` in a page: as much of it as the tests use.

function isSame(one, other) {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  if (Object.getPrototypeOf(one) !== Object.getPrototypeOf(other)) return false;
  const [keys, others] = [Object.keys(one), Object.keys(other)];
  return keys.length === others.length &&
    keys.every((key) => Object.hasOwn(other, key) && isSame(one[key], other[key]));
}

function claim(holds, message, ...values) {
  if (holds) return;
  const shown = values.map((value) => JSON.stringify(value) ?? String(value));
  throw new Error([message ?? "it does not hold", ...shown].join("\n"));
}

export default {
  ok: (value, message) => claim(value, message),
  equal: (actual, expected, message) => claim(Object.is(actual, expected), message, actual, expected),
  deepEqual: (actual, expected, message) => claim(isSame(actual, expected), message, actual, expected),
  match: (text, pattern) => claim(pattern.test(text), `${pattern} does not match`, text),
  /** `expected` has members that the error has, too, or says whether it is the right one. */
  async rejects(promise, expected) {
    const error = await promise.then(() => claim(false, "it is not rejected"), (reason) => reason);
    const isRight = typeof expected === "function"
      ? expected(error)
      : Object.entries(expected).every(([key, value]) => isSame(error[key], value));
    claim(isRight, "it is rejected with another error", error);
  },
};
