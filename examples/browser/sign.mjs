// Signs a token for a user of this site: what /my/token answers ("Signing a token" in docs/browser.rst).
import { createHmac, randomUUID } from "node:crypto";

/** `claims`: sub, tenant_id, role; and for some queues only: queues. */
export function callcenterToken(secret, claims, seconds = 600) {
  const now = Math.floor(Date.now() / 1000);
  const encode = (fields) => Buffer.from(JSON.stringify(fields)).toString("base64url");
  const all = { iat: now, exp: now + seconds, jti: randomUUID(), ...claims };
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(all)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}
