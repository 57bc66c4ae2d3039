// The shortcuts for calls. Alt with a letter works from anywhere; the single letter while no field has the focus.
// Of the letters A R H C T X J B O D W G are those of calls; the chats have others.

import { text } from "../texts.js";

/** @param {import("./call_column.js").CallColumn} column */
export function addCallKeys(column) {
  const { keys, actions } = column.context;
  const ringing = () => column.list().find(({ state }) => state === "ringing");
  const current = () => column.current();
  /** @param {string} name @param {import("./own_calls.js").OwnCall | undefined} call @param {string} [label] */
  const run = (name, call, label) => {
    if (call && actions.can(name) && !actions.isUnderWay(name, call.id)) actions.run(name, { call_id: call.id }, label);
  };
  /** @param {string} id @param {string[]} shortcut @param {() => void} does @param {() => boolean} enabled */
  const add = (id, shortcut, does, enabled) => keys.add({ id, keys: shortcut, group: "desk.keys.calls", label: text(`desk.keys.${id}`), run: does, enabled });
  const talks = (/** @type {string} */ name) => () => current() !== undefined && actions.can(name);
  const consults = (/** @type {string} */ name) => () => {
    const call = current();
    return call !== undefined && actions.can(name) && (column.consultations.of(call.id) !== null || column.consultations.asked(call.id) !== null);
  };

  add("answer", ["a", "Alt+A", "F2"], () => run("call.answer", ringing()), () => ringing() !== undefined && actions.can("call.answer"));
  add("reject", ["r", "Alt+R"], () => run("call.hangup", ringing(), text("desk.call.rejecting")), () => ringing() !== undefined && actions.can("call.hangup"));
  add("hold", ["h", "Alt+H", "F8"], () => run(current()?.state === "hold" ? "call.unhold" : "call.hold", current()), talks("call.hold"));
  add("consult", ["c", "Alt+C"], () => withCall(column.consult.bind(column)), talks("call.consult"));
  add("transfer", ["t", "Alt+T"], () => withCall(column.transfer.bind(column)), talks("call.transfer"));
  add("complete", ["j", "Alt+J"], () => run("call.consult.complete", current()), consults("call.consult.complete"));
  add("cancel", ["b", "Alt+B"], () => run("call.consult.cancel", current()), consults("call.consult.cancel"));
  add("record", ["o", "Alt+O"], () => withCall(({ id }) => press(id, "call.record")), talks("call.record"));
  add("hangup", ["x", "Alt+X", "F9"], () => run("call.hangup", current()), talks("call.hangup"));
  add("dial", ["d", "Alt+D"], () => column.focusDial(), () => actions.can("call.originate"));
  add("say", ["Alt+W"], () => column.wrapUps.list()[0] && column.say(column.wrapUps.list()[0].id), () => column.wrapUps.list().length > 0);
  add("focus", ["g", "Alt+G"], () => column.focusCall(), () => true);

  /** @param {(call: import("./own_calls.js").OwnCall) => void} does */
  function withCall(does) {
    const call = current();
    if (call) does(call);
  }
}

/** Press a button of a card. @param {string} id @param {string} name */
function press(id, name) {
  /** @type {HTMLElement | null} */ (document.querySelector(`[data-call="${CSS.escape(id)}"] [data-command="${name}"]`))?.click();
}
