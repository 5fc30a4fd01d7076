// What stands for `../token.mjs` in a page: the program that opened it signs.

export const KEY = "a key of tests";

/** A token of these claims. */
export function sign(claims, key = KEY) {
  const request = new XMLHttpRequest();
  // Tests sign where nothing waits.
  request.open("POST", "/sign", false);
  request.send(JSON.stringify([claims, key]));
  return JSON.parse(request.responseText);
}
