import assert from "node:assert/strict";
import test from "node:test";
import { described, followBoard } from "../../../callcenter_ws/pages/static/wallboard/boards.js";
import { FIGURES } from "../../../callcenter_ws/pages/static/wallboard/figures.js";
import { DEFAULTS, complete, ofFragment } from "../../../callcenter_ws/pages/static/wallboard/settings.js";
import { fakeTimeouts } from "../../../clients/js/test/fake_timeouts.js";

const refused = (status) => Object.assign(new Error("refused"), { status });
const gateway = (answers) => async (path) => {
  const answer = answers[path];
  if (answer instanceof Error) throw answer;
  return answer ?? assert.fail(path);
};
const floor = { name: "floor", title: "Floor" };

test("the wallboard of the address is asked for, without one the first of the tenant", async () => {
  const ask = gateway({ "/ws/wallboards": { wallboards: [floor, { name: "other" }] }, "/ws/wallboards/floor": floor });
  assert.equal(await described("floor", ask), floor);
  assert.equal(await described(null, ask), floor);
  assert.equal(await described("", ask), floor);
  assert.deepEqual(await described(null, gateway({ "/ws/wallboards": { wallboards: [] } })), {});
});

test("a wallboard that does not exist, or may not be seen, is said", async () => {
  const ask = (status) => gateway({ "/ws/wallboards/a%2Fb": refused(status) });
  assert.equal((await described("a/b", ask(404))).note.text, "There is no wallboard “a/b”");
  assert.equal((await described("a/b", ask(403))).note.text, "This screen may not show “a/b”");
  // These would be folders in an address.
  for (const name of [".", ".."]) assert.equal((await described(name, gateway({}))).note.text, `There is no wallboard “${name}”`);
});

test("what passes by itself is thrown", async () => {
  await assert.rejects(described("floor", gateway({ "/ws/wallboards/floor": refused(503) })));
  await assert.rejects(described(null, gateway({ "/ws/wallboards": refused(403) })));
});

test("the settings are asked for when the client is live, again after five minutes, and used when they have changed", async (context) => {
  const pass = fakeTimeouts(context);
  const settle = () => new Promise((done) => setImmediate(done));
  const used = [];
  let tell;
  const answers = [refused(503), { rows: 2 }, { rows: 2 }, { rows: 3 }];
  let asked = 0;
  const ask = async () => {
    const answer = answers[asked++];
    if (answer instanceof Error) throw answer;
    return answer;
  };
  followBoard({ status: { state: "connecting" }, on: (_, callback) => (tell = callback) }, ask, (settings) => used.push(settings.rows));
  tell({ state: "connecting" });
  assert.equal(asked, 0);
  tell({ state: "live" });
  tell({ state: "live" });
  await settle();
  assert.deepEqual([asked, used], [1, []]);
  pass(5_000);
  await settle();
  assert.deepEqual([asked, used], [2, [2]]);
  pass(300_000);
  await settle();
  assert.deepEqual([asked, used], [3, [2]]);
  tell({ state: "offline" });
  pass(3_000_000);
  assert.equal(asked, 3);
  tell({ state: "live" });
  await settle();
  assert.deepEqual([asked, used], [4, [2, 3]]);
});

test("a client that is live already is asked at once", async () => {
  let asked = 0;
  followBoard({ status: { state: "live" }, on: () => {} }, async () => ((asked += 1), new Promise(() => {})), () => {});
  assert.equal(asked, 1);
});

test("what the gateway sends is taken over, the address goes before it", () => {
  const isFigure = (name) => name in FIGURES;
  const sent = { ...DEFAULTS, name: "floor", rows: 4, queues: ["sales"], chart: false, thresholds: { ...DEFAULTS.thresholds, waiting: { warning: 1, breach: 2 } } };
  assert.deepEqual(complete(sent, isFigure), sent);
  const both = complete({ ...sent, ...ofFragment("#rows=2&chart=true&note=x&thresholds=y") }, isFigure);
  assert.deepEqual([both.rows, both.chart, both.note, both.queues, both.thresholds.waiting.breach], [2, true, null, ["sales"], 2]);
});
