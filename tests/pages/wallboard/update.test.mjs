import assert from "node:assert/strict";
import test from "node:test";
import { Updates, buildIn } from "../../../callcenter_ws/pages/static/wallboard/update.js";

const [OWN, OTHER, THIRD] = ["0", "1", "2"].map((digit) => digit.repeat(16));

test("the build is in the address of a file", () => {
  assert.equal(buildIn(`<script src="/pages/${OWN}/wallboard/main.js">`), OWN);
  assert.equal(buildIn("<html>"), null);
});

test("the page is loaded again when the same other build was served twice, a minute apart", () => {
  const updates = new Updates(OWN);
  assert.deepEqual([updates.served(OWN, 0), updates.served(OTHER, 0), updates.served(OTHER, 59_999)], [false, false, false]);
  assert.equal(updates.served(OTHER, 60_000), true);
});

test("while two versions serve, the page stays", () => {
  const updates = new Updates(OWN);
  for (const [build, now] of [[OTHER, 0], [OWN, 30_000], [OTHER, 60_000], [THIRD, 125_000], [null, 130_000], [THIRD, 190_000]]) {
    assert.equal(updates.served(build, now), false);
  }
});
