import assert from "node:assert/strict";
import test from "node:test";
import { DEFAULTS } from "../../../callcenter_ws/pages/static/wallboard/settings.js";
import { FIGURES } from "../../../callcenter_ws/pages/static/wallboard/figures.js";
import { ems, fit, layout } from "../../../callcenter_ws/pages/static/wallboard/layout.js";
import { text } from "../../../callcenter_ws/pages/static/texts.js";

const LONGEST = { waiting: "9,999", longest_wait: "11:59:59", service_level_30m: "100", agents: "of 400" };
const columns = (longest = {}) =>
  DEFAULTS.figures.map((figure) => ({ ...FIGURES[figure], head: text(`figure.${figure}`), longest: longest[figure] ?? "" }));
const at = (width, height, rows, longest) => layout({ width, height, rows, columns: columns(longest) });
const sum = (numbers) => numbers.reduce((one, other) => one + other, 0);

test("six rows on a TV have main figures of 15 hundredths of the height, and nothing below 6", () => {
  for (const [width, height] of [[1920, 1080], [3840, 2160], [1366, 768]]) {
    const unit = height / 100;
    const made = at(width, height, 6);
    assert.equal(made.form, "table");
    assert.ok(made.main >= 14.9 * unit && made.main <= 25 * unit, `${made.main / unit}`);
    for (const name of ["side", "name", "text"]) assert.ok(made[name] >= 6 * unit - 0.01, name);
    assert.ok(made.strip + made.head + 6 * made.rowHeight <= height);
    assert.ok(sum(made.columns) + 26 * unit <= width - 3.8 * unit);
  }
});

test("fewer rows are larger, and their figures fit beside each other", () => {
  const mains = [1, 2, 3, 4, 6].map((rows) => at(1920, 1080, rows).main / 10.8);
  for (const [at, main] of mains.entries()) assert.ok(at === 0 || main <= mains[at - 1] + 0.11, mains.join());
  assert.ok(mains[0] >= 24.9 && mains[1] >= 18 && mains[2] >= 17 && mains[4] >= 14.9, mains.join());
  assert.deepEqual([1, 2, 3, 4].map((rows) => at(1920, 1080, rows).form), ["single", "stacked", "stacked", "table"]);
  for (const rows of [2, 3, 4, 5, 6]) assert.ok(sum(at(1920, 1080, rows, LONGEST).columns) <= 1920 - 41);
});

test("columns become wider for long figures, and what still does not fit becomes smaller or shorter, never cut", () => {
  const usual = at(1920, 1080, 6);
  const huge = at(1920, 1080, 6, LONGEST);
  assert.ok(huge.columns[1] > usual.columns[1]);
  for (const [column, figure] of [[0, "9,999"], [1, "11:59:59"], [2, "100"]]) {
    const width = huge.columns[column] - 2 * huge.padding;
    const made = fit(figure, "short", huge.main, width);
    assert.ok(ems(made.text) * made.size <= width + 0.001);
    assert.ok(made.size >= 9 * 10.8, `${figure} ${made.size / 10.8}`);
  }
  const hundreds = at(1920, 1080, 6, { waiting: "128" });
  assert.ok(fit("128", "128", hundreds.main, hundreds.columns[0] - 2 * hundreds.padding).size >= 14.9 * 10.8);
  assert.deepEqual(fit("1:02:34", "1h02", 100, 150).text, "1h02");
  assert.deepEqual(fit("12:34", "12:34", 100, 1000), { text: "12:34", size: 100 });
});

test("a font with wider digits makes smaller figures", () => {
  const wide = layout({ width: 1920, height: 1080, rows: 6, columns: columns(), digit: 0.7 });
  assert.ok(wide.main < at(1920, 1080, 6).main);
  assert.ok(sum(wide.columns) <= 1920);
});

test("phones and narrow windows have cards without pages", () => {
  assert.equal(at(390, 844, 6).form, "cards");
  assert.equal(at(844, 390, 6).form, "cards");
  assert.equal(at(390, 844, 6).rows, 0);
});

test("windows of 4:3 keep all figures above 6", () => {
  const made = at(1024, 768, 6);
  assert.equal(made.form, "table");
  assert.ok(made.main >= 6 * 7.68);
  assert.ok(sum(made.columns) <= 1024 - 2 * 1.9 * 7.68);
});
