import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { fakeTimeouts } from "./fake_timeouts.js";

const ORIGIN = "https://gateway.example";
/** @type {((event: object) => void)[]} */
let listeners = [];
globalThis.addEventListener = (_, listener, { signal }) => {
  listeners.push(listener);
  signal.addEventListener("abort", () => (listeners = listeners.filter((one) => one !== listener)));
};
const { embed, TokenRefused } = await import("../src/embed.js");

/** @returns {any} a frame that keeps what was posted to its page */
function newFrame() {
  const posted = [];
  return { posted, contentWindow: { postMessage: (message, origin) => posted.push([message, origin]) } };
}

/** Send a message to the page of the site, from the frame if nothing else is said. */
function post(frame, data, { source = frame.contentWindow, origin = ORIGIN } = {}) {
  for (const listener of listeners) listener({ source, origin, data });
}
const request = (id, more = {}) => ({ type: "callcenter.token.request", version: 1, id, reason: "connect", ...more });
const settled = () => new Promise((done) => setImmediate(done));

let errors = [];
beforeEach(() => {
  listeners = [];
  errors = [];
  mock.restoreAll();
  mock.method(console, "error", (...words) => errors.push(words.join(" ")));
});

test("a request of the page in the frame is answered, at its exact origin", async () => {
  const frame = newFrame();
  const asked = [];
  embed(frame, { origin: ORIGIN, token: async ({ reason }) => (asked.push(reason), "a.b.c\n") });
  post(frame, request(7, { reason: "expiring" }));
  await settled();
  assert.deepEqual(asked, ["expiring"]);
  assert.deepEqual(frame.posted, [[{ type: "callcenter.token", token: "a.b.c", version: 1, id: 7 }, ORIGIN]]);
});

test("nothing else is answered", async () => {
  const frame = newFrame();
  let asked = 0;
  embed(frame, { origin: ORIGIN, token: () => `t${++asked}` });
  const other = newFrame();
  for (const origin of ["https://gateway.example:8443", "http://gateway.example", "https://evil.example", "null", ""]) {
    post(frame, request(1), { origin });
  }
  post(frame, request(1), { source: other.contentWindow });
  post(frame, request(1), { source: null });
  for (const data of [null, "text", 5, [], {}, request(1, { version: 2 }), request("1"), request(1.5), request(NaN), request(1, { type: "callcenter.token" })]) {
    post(frame, data);
  }
  // The frame was taken out of the page: it has no window, and a message without a source is not its.
  frame.contentWindow = null;
  post(frame, request(1), { source: null });
  await settled();
  assert.equal(asked, 0);
  assert.deepEqual(other.posted, []);
});

test("a flood calls back once a second, and keeps few requests", async (context) => {
  const pass = fakeTimeouts(context);
  let now = 1e6;
  mock.method(performance, "now", () => now);
  const frame = newFrame();
  let asked = 0;
  embed(frame, { origin: ORIGIN, token: async () => `t${++asked}` });
  for (let second = 1; second <= 3; second += 1) {
    for (let id = 1; id <= 10000; id += 1) post(frame, request(id));
    await settled();
    assert.equal(asked, second);
    for (let id = 1; id <= 10000; id += 1) post(frame, request(id));
    await settled();
    assert.equal(asked, second);
    now += 1000;
    pass(1000);
    await settled();
    assert.equal(asked, second + 1);
    asked = second;
    now += 1000;
  }
  assert.ok(frame.posted.length <= 6 * 8, String(frame.posted.length));
  assert.deepEqual(frame.posted.at(-1)[0].id, 10000);
});

test("the page stops if no user is signed in, and asks again after any other failure", async () => {
  const words = [];
  const outcomes = [
    () => { throw new TokenRefused("sign in at example.com"); },
    async () => { throw Object.assign(new Error("of the other entry"), { name: "TokenRefused" }); },
    async () => { throw new Error("HTTP 503"); },
    async () => "<html>secret page</html>",
    () => undefined,
    () => { throw null; },
  ];
  for (const token of outcomes) {
    const frame = newFrame();
    embed(frame, { origin: ORIGIN, token });
    post(frame, request(1));
    await settled();
    const [{ type, message, retry }] = frame.posted[0];
    assert.equal(type, "callcenter.token.refused");
    words.push([message, retry]);
    listeners = [];
  }
  const later = ["the site has no token at present", true];
  assert.deepEqual(words, [["sign in at example.com", undefined], ["of the other entry", undefined], later, later, later, later]);
  assert.equal(errors.length, 4);
  assert.ok(!errors.join().includes("secret"));
});

test("a callback that does not answer is given up after ten seconds", async (context) => {
  const pass = fakeTimeouts(context);
  const frame = newFrame();
  let given;
  embed(frame, { origin: ORIGIN, token: ({ signal }) => ((given = signal), new Promise(() => {})) });
  post(frame, request(1));
  pass(10000);
  await settled();
  assert.ok(given.aborted);
  assert.equal(frame.posted[0][0].retry, true);
});

test("signing out is sent to the gateway only, and nothing is answered after the end", async () => {
  const frame = newFrame();
  const ending = new AbortController();
  let asked = 0;
  let given;
  const page = embed(frame, { origin: ORIGIN, token: ({ signal }) => (asked++, (given = signal), new Promise((done) => setImmediate(done, "t"))), signal: ending.signal });
  page.signOut();
  assert.deepEqual(frame.posted, [[{ type: "callcenter.sign-out", version: 1 }, ORIGIN]]);
  post(frame, request(1));
  ending.abort();
  assert.ok(given.aborted);
  await settled();
  await settled();
  post(frame, request(2));
  await settled();
  assert.deepEqual([asked, frame.posted.length, listeners.length, errors.length], [1, 1, 0, 0]);
  embed(frame, { origin: ORIGIN, token: () => "t", signal: AbortSignal.abort() });
  assert.equal(listeners.length, 0);
});

test("an origin that is none, and a token that is no function, are errors of the program", () => {
  for (const origin of ["*", "null", "/", "https://gateway.example/", "https://gateway.example/live", "https://GATEWAY.example", "file://", "data:text/html,x", undefined, "https://u:p@gateway.example"]) {
    assert.throws(() => embed(newFrame(), { origin, token: () => "t" }), { name: "TypeError", message: /^origin: / });
  }
  assert.throws(() => embed(newFrame(), { origin: ORIGIN, token: "t" }), { name: "TypeError", message: /^token: / });
});
