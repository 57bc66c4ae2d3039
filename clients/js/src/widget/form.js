/** Where the visitor writes: a message, and the name and address where they are asked for. */

import { element, icon, setAttribute, setShown, setText } from "./dom.js";

/** @typedef {import("./texts.js").Say} Say */
/** @typedef {"message" | "first" | "offline"} Mode `first`: name and address are asked for; `offline`: the address is needed */

/** The largest message; with the longest characters still below the limit of the gateway for visitors. */
const MAX_CHARACTERS = 2000;
const NEARLY = 200;
const MAX_LINES_PX = 120;
const SEND = "M4 12l16-8-5 16-4-6zM11 14l9-10";

/**
 * @param {Say} say
 * @param {object} on
 * @param {(body: string, person: {name?: string, email?: string}) => void} on.send
 * @param {(text: string) => void} on.input the draft has changed
 */
export function formOf(say, { send, input }) {
  /** @type {Mode} */
  let mode = "message";
  const name = element("input", { id: "name", autocomplete: "name", maxlength: 100 });
  const email = element("input", { id: "email", type: "email", autocomplete: "email", maxlength: 200 });
  const text = element("textarea", { id: "text", rows: 1, maxlength: MAX_CHARACTERS, placeholder: say("message"), enterkeyhint: "send", autocomplete: "off" });
  const left = element("p", { class: "left", role: "status" });
  const label = element("span");
  const button = element("button", { class: "send" }, label, icon(SEND));
  const optional = [0, 1].map(() => element("span", { class: "optional" }, ` (${say("optional")})`));
  const person = element("div", { class: "person" }, element("label", {}, say("name"), optional[0], name), element("label", {}, say("email"), optional[1], email));
  const caption = element("label", { for: "text" }, say("message"));
  const root = element("form", { class: "form" }, person, caption, element("div", { class: "write" }, text, button), left);

  const fit = () => {
    // In a form that is not shown nothing has a height.
    if (!text.offsetParent && !text.offsetHeight) return;
    text.style.height = "auto";
    text.style.height = `${Math.min(MAX_LINES_PX, text.scrollHeight + 2)}px`;
  };

  const changed = () => {
    fit();
    const count = MAX_CHARACTERS - text.value.length;
    setText(left, count <= NEARLY ? say("characters", { count }) : "");
    input(text.value);
  };

  const submit = () => {
    const body = text.value.trim();
    if (!body) return text.focus();
    const isAsked = mode !== "message";
    if (!root.reportValidity()) return;
    text.value = "";
    changed();
    send(body, isAsked ? { name: name.value.trim(), email: email.value.trim() } : {});
    text.focus();
  };

  text.addEventListener("input", changed);
  // Not while a character is being composed: there Enter ends the composition.
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || mode === "offline") return;
    event.preventDefault();
    submit();
  });
  root.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });

  return {
    root,
    fit,
    /** @param {Mode} wanted */
    show(wanted) {
      mode = wanted;
      const isOffline = mode === "offline";
      setAttribute(root, "data-mode", mode);
      // Agents have come while an address was written: the field that has the focus is not needed.
      if (mode === "message" && person.matches(":focus-within")) text.focus();
      setShown(person, mode !== "message");
      for (const field of [name, email]) field.disabled = mode === "message";
      name.required = mode === "first";
      email.required = isOffline;
      text.required = isOffline;
      setShown(optional[0], isOffline);
      setShown(optional[1], !isOffline);
      setAttribute(caption, "class", isOffline ? null : "unseen");
      setAttribute(text, "placeholder", isOffline ? null : say("message"));
      setAttribute(text, "rows", isOffline ? 4 : 1);
      setAttribute(label, "class", isOffline ? null : "unseen");
      setText(label, say("send"));
      fit();
    },
    /** @param {{name: string, email: string}} person what is known from before */
    fill(person) {
      name.value ||= person.name;
      email.value ||= person.email;
    },
    /** Empty all fields. */
    clear() {
      root.reset();
      changed();
    },
    /** @param {string} draft */
    write(draft) {
      text.value = draft;
      changed();
    },
    get value() {
      return text.value;
    },
    /** Move the focus to the first field that is empty. */
    focus() {
      const fields = mode === "message" ? [text] : [name, email, text];
      (fields.find(({ value }) => !value) ?? text).focus();
    },
  };
}
