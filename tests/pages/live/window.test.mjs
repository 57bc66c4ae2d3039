// Which lines of the live view are in the document.
import assert from "node:assert/strict";
import { test } from "node:test";
import { LEAST, LineWindow, STEP } from "../../../callcenter_ws/pages/static/live/window.js";

/** Lines with these keys, newest first. */
const lines = (newest, count) => Array.from({ length: count }, (_, at) => ({ key: newest - at }));
const keys = ({ lines: shown }) => shown.map(({ key }) => key);
const whole = (view, shown) => {
  let frames = 1;
  let next = view.next(shown);
  for (; !next.isWhole; frames += 1) next = view.next(shown);
  return [keys(next), frames];
};

test("all lines are in the document after some frames, newest first", () => {
  const [shown, frames] = whole(new LineWindow(), lines(30, 30));
  assert.deepEqual([shown, frames], [keys({ lines: lines(30, 30) }), Math.ceil(30 / STEP)]);
});

test("no frame has more new lines than a few, the oldest of them first, and none is put between two others", () => {
  const view = new LineWindow();
  whole(view, lines(200, 200));
  let before = keys(view.next(lines(200, 200)));
  for (let isWhole = false; !isWhole; ) {
    const next = view.next(lines(300, 200));
    isWhole = next.isWhole;
    const shown = keys(next);
    const added = shown.filter((key) => !before.includes(key));
    assert.ok(added.length <= STEP);
    assert.deepEqual(shown.slice(0, added.length), added);
    assert.equal(shown.length, LEAST, "what was there stays until there is something newer");
    before = shown;
  }
  assert.deepEqual(before, keys({ lines: lines(300, LEAST) }));
});

test("what the filters do not let through any more is gone at once", () => {
  const view = new LineWindow();
  whole(view, lines(20, 20));
  assert.deepEqual(keys(view.next(lines(20, 20).filter(({ key }) => key % 5 === 0))), [20, 15, 10, 5]);
});

test("the document has more lines when it is scrolled to their end, and few again at the top", () => {
  const view = new LineWindow();
  assert.equal(whole(view, lines(200, 200))[0].length, LEAST);
  assert.equal(view.scrolled(100, 2000, 800), false);
  assert.equal(view.scrolled(1200, 700, 800), true);
  assert.ok(whole(view, lines(200, 200))[0].length > LEAST);
  for (let at = 0; at < 10; at += 1) view.scrolled(1200, 0, 800);
  assert.equal(whole(view, lines(200, 200))[0].length, 200);
  assert.equal(view.scrolled(0, 5000, 800), true);
  assert.equal(view.next(lines(200, 200)).lines.length, LEAST);
});
