// Tokens, signed here and not by the server's code.

import { createHmac } from "node:crypto";

export const KEY = "a key of tests";

/** A token of these claims. */
export function sign(claims, key = KEY) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
}
