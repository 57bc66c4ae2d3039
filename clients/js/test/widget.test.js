import assert from "node:assert/strict";
import { test } from "node:test";
import { INTERNAL, OF_THE_WIDGET } from "../internal.mjs";
import { DARK, LIGHT, colorsOf, contrast, parseColor } from "../src/widget/color.js";
import { joined, linesOf, newAfter, piecesOf, withoutPublished } from "../src/widget/messages.js";
import { optionsOf, originOf } from "../src/widget/options.js";
import { entryOf, nothingKept, nothingOfTab } from "../src/widget/storage.js";
import { TABLES, languageOf, wordsOf } from "../src/widget/texts.js";

const message = (id, body = "text", more = {}) => ({
  type: "chat.message", seq: 1, timestamp: "2026-11-30T10:00:00.000Z",
  payload: { session_id: "s", message_id: id, sender_id: "a", sender_type: "agent", body, ...more },
});

test("text can be read on and in every color, on both grounds", () => {
  for (const red of ["00", "55", "aa", "ff"]) {
    for (const green of ["00", "55", "aa", "ff"]) {
      for (const blue of ["00", "55", "77", "aa", "ff"]) {
        const { accent, onAccent, light, dark } = colorsOf(`#${red}${green}${blue}`);
        assert.equal(accent, `#${red}${green}${blue}`);
        assert.ok(contrast(accent, onAccent) >= 4.5, accent);
        assert.ok(contrast(light, LIGHT) >= 4.5, accent);
        assert.ok(contrast(dark, DARK) >= 4.5, accent);
      }
    }
  }
});

test("a color that fits already is not changed", () => {
  assert.deepEqual(colorsOf("#0b5cad").light, "#0b5cad");
  assert.deepEqual(colorsOf("#8ac6ff").dark, "#8ac6ff");
  assert.deepEqual(parseColor(" #F0A "), [255, 0, 170]);
});

test("what is no color is replaced", () => {
  const { accent } = colorsOf(null);
  for (const wrong of ["", "red", "#12345", "#1234567", "url(x)", "#ggg", "expression(alert(1))"]) assert.equal(colorsOf(wrong).accent, accent);
});

test("each language has each word, with the same values", () => {
  const values = (text) => (text.match(/\{\w+\}/g) ?? []).sort();
  for (const [language, table] of Object.entries(TABLES)) {
    assert.deepEqual(Object.keys(table), Object.keys(TABLES.en), language);
    for (const [word, text] of Object.entries(table)) assert.deepEqual(values(text), values(TABLES.en[word]), `${language} ${word}`);
  }
});

test("no word has a short name in the bundle, where it is found by a text", () => {
  const names = [...INTERNAL, ...OF_THE_WIDGET];
  assert.deepEqual(Object.keys(TABLES.en).filter((word) => names.includes(word)), []);
  assert.deepEqual(Object.keys({ ...nothingKept(), ...nothingOfTab() }).filter((name) => names.includes(name)), []);
});

test("the language is the first that there is a table for", () => {
  assert.equal(languageOf(["de-AT", "en"]), "de");
  assert.equal(languageOf([null, "", "DE_de"]), "de");
  assert.equal(languageOf(["xx", "constructor", "toString"]), "en");
  assert.equal(languageOf(["fr-CA"], { fr: { send: "Envoyer" } }), "fr");
});

test("a site adds a language and changes words; what it lacks is English", () => {
  const say = wordsOf("fr", { fr: { send: "Envoyer", talking: "Avec {name}" } });
  assert.equal(say("send"), "Envoyer");
  assert.equal(say("talking", { name: "{name} $& <b>" }), "Avec {name} $& <b>");
  assert.equal(say("close"), TABLES.en.close);
  assert.equal(wordsOf("de", { de: { title: "Hilfe" } })("title"), "Hilfe");
});

test("the address of the gateway is that of the script", () => {
  const of = (src, dataset) => originOf({ src, dataset });
  assert.deepEqual(of("https://gw.example/widget.js?v=1", { tenant: " acme " }), { gateway: "https://gw.example/", tenant: "acme" });
  assert.equal(of("https://gw.example/chat/widget.js", { tenant: "a" }).gateway, "https://gw.example/chat/");
  assert.equal(of("https://cdn.example/w.js", { tenant: "a", gateway: "https://gw.example/x" }).gateway, "https://gw.example/x/");
  for (const [src, dataset] of [["https://gw.example/widget.js", {}], ["", { tenant: "a" }], ["data:,x", { tenant: "a" }], ["https://gw.example/widget.js", { tenant: "a", gateway: "javascript:1" }]]) {
    assert.equal(of(src, dataset), null);
  }
});

test("attributes precede settings", () => {
  const settings = { title: "Acme", color: "#123456", position: "right", language: "en", greeting: "Hi", ask_name: true, queue_name: "sales" };
  const set = optionsOf({}, settings);
  assert.deepEqual([set.title, set.color, set.isLeft, set.language, set.greeting, set.asksName, set.queue, set.theme, set.hasSound], ["Acme", "#123456", false, "en", "Hi", true, "sales", "auto", true]);
  const own = optionsOf({ title: "Shop", color: "#fff", position: "left", language: "de", theme: "dark", sound: "off", queue: "vip" }, settings);
  assert.deepEqual([own.title, own.color, own.isLeft, own.language, own.theme, own.hasSound, own.queue], ["Shop", "#fff", true, "de", "dark", false, "vip"]);
  assert.deepEqual(optionsOf({}, {}).title, null);
});

test("messages that the store has replace those of before, whose place is before them", () => {
  const before = joined([], [message("1"), message("2", "old")]);
  const both = joined(before, [message("2", "new"), message("3", "own", { sender_type: "visitor", client_message_id: "c3" })]);
  assert.deepEqual(both.map(({ id, key, body }) => [id, key, body]), [["1", "1", "text"], ["2", "2", "new"], ["3", "c3", "own"]]);
});

test("a message keeps its key when it is published", () => {
  const unsent = [{ id: "c3", body: "own", at: 1 }, { id: "c4", body: "next", at: 2, failed: true }];
  assert.deepEqual(linesOf([], unsent).map(({ key, state }) => [key, state]), [["c3", "sending"], ["c4", "failed"]]);
  const messages = [message("m", "own", { sender_type: "visitor", client_message_id: "c3" })];
  assert.deepEqual(withoutPublished(unsent, messages).map(({ id }) => id), ["c4"]);
  assert.deepEqual(linesOf(joined([], messages), []).map(({ key, state }) => [key, state]), [["c3", "published"]]);
});

test("new are the messages of others after the one that was read", () => {
  const log = joined([], [message("1"), message("2", "x", { sender_type: "visitor" }), message("3"), message("4")]);
  assert.deepEqual(["1", "3", "4", null, "gone"].map((id) => newAfter(log, id).length), [2, 1, 0, 3, 3]);
});

test("only addresses of the web are links", () => {
  assert.deepEqual(piecesOf("see https://a.example/b?c=1. Or (http://d.example)!").filter(({ href }) => href).map(({ href }) => href), ["https://a.example/b?c=1", "http://d.example"]);
  for (const text of ["javascript:alert(1)", "data:text/html,x", "//a.example", "https://", "plain"]) assert.deepEqual(piecesOf(text), [{ text }]);
  for (const text of ["a https://x.example/<b>\"'", "https://x.example https://y.example"]) assert.equal(piecesOf(text).map((piece) => piece.text).join(""), text);
});

test("what is stored is read back, and what has another type is not", () => {
  const items = new Map();
  const storage = { getItem: (key) => items.get(key) ?? null, setItem: (key, value) => items.set(key, value) };
  const entry = entryOf(() => storage, "k", nothingKept);
  assert.deepEqual(entry.read(), nothingKept());
  entry.write({ ...nothingKept(), session: "s", started: true, unsent: [{ id: "1", body: "b", at: 1 }] });
  assert.deepEqual(entry.read().unsent, [{ id: "1", body: "b", at: 1 }]);
  for (const wrong of ["", "null", "5", "{", '{"unsent": {}, "started": 1, "name": null, "other": 1}']) {
    items.set("k", wrong);
    assert.deepEqual(entry.read(), nothingKept());
  }
});

test("where no storage is allowed, the page itself remembers", () => {
  const forbidden = () => {
    throw new Error("SecurityError");
  };
  const entry = entryOf(forbidden, "k", nothingKept);
  entry.write({ ...nothingKept(), name: "Ada" });
  assert.equal(entry.read().name, "Ada");
});
