/** The launcher and the panel, in a shadow tree of their own: styles of the site do not reach them, nor theirs the site. */

import { colorsOf } from "./color.js";
import { element, icon, setAttribute, setShown, setText } from "./dom.js";
import { formOf } from "./form.js";
import { logOf } from "./log.js";
import css from "./widget.css";

/** @typedef {import("./texts.js").Say} Say */
/** @typedef {import("./options.js").Options} Options */
/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./storage.js").OfTab} OfTab */

export const HOST = "callcenter-widget";
/** As in widget.css: the panel fills the window. */
const SMALL = "(max-width: 480px), (max-height: 440px)";
const TYPING_MS = 3000;
const BOTTOM_PX = 60;
const BUBBLE = "M4 5h16v11H10l-5 4v-4H4zM8 9h8M8 12h5";
const CROSS = "M6 6l12 12M18 6L6 18";
const DOOR = "M14 5H6v14h8M10 12h10M17 8l4 4-4 4";
const BELL = "M6 17h12l-2-3v-4a4 4 0 0 0-8 0v4zM10 20h4";
const BELL_OFF = `${BELL}M4 4l16 16`;

/** @param {ShadowRoot} shadow @param {string} nonce */
function addStyle(shadow, nonce) {
  try {
    // A strict policy of the site permits this.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    shadow.adoptedStyleSheets = [sheet];
  } catch {
    // Firefox before 101, Safari before 16.4.
    shadow.append(element("style", nonce ? { nonce } : {}, css));
  }
}

/**
 * @param {object} parts
 * @param {Chat} parts.chat
 * @param {Say} parts.say
 * @param {string} parts.language
 * @param {Options} parts.options
 * @param {string} parts.nonce of the script
 * @param {{read: () => OfTab, write: (value: OfTab) => void}} parts.tab
 * @param {() => boolean} parts.isAvailable
 * @param {() => boolean} parts.isQuiet
 * @param {() => void} parts.toggleSound
 * @param {(isOpen: boolean) => void} parts.toggled
 */
export function viewOf({ chat, say, language, options, nonce, tab, isAvailable, isQuiet, toggleSound, toggled }) {
  const title = options.title ?? say("title");
  const host = document.createElement(HOST);
  const shadow = host.attachShadow({ mode: "open" });
  let typedAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typingEnds;

  const log = logOf(say, language, () => chat.retry());
  const form = formOf(say, {
    send(body, person) {
      clearTimeout(typingEnds);
      typedAt = 0;
      const isNew = chat.state.phase === "none";
      chat.send(body, { ...person, offline: isNew && !isAvailable() });
      toBottom();
    },
    input(draft) {
      tab.write({ ...tab.read(), draft });
      if (draft) typing();
    },
  });
  const typing = () => {
    clearTimeout(typingEnds);
    typingEnds = setTimeout(() => {
      typedAt = 0;
      chat.type(false);
    }, TYPING_MS);
    if (Date.now() < typedAt + TYPING_MS) return;
    typedAt = Date.now();
    chat.type(true);
  };

  const about = element("p", { class: "about" });
  const status = element("p", { class: "unseen", role: "status" });
  const sound = element("button", { type: "button", class: "plain", onclick: () => (toggleSound(), show()) });
  const cross = element("button", { type: "button", class: "plain", "aria-label": say("close"), onclick: () => close() }, icon(CROSS));
  const lost = element("div", { class: "notice" }, element("p", {}, say("lost")), element("button", { type: "button", class: "link", onclick: () => chat.probe() }, say("now")));
  const end = element("button", { type: "button", class: "plain", "aria-label": say("end"), onclick: () => ask(sure.hidden === true) }, icon(DOOR));
  const sure = element("div", { class: "notice", hidden: true }, element("p", {}, say("sure")), element("button", { type: "button", class: "link", onclick: () => (ask(false), chat.end()) }, say("end")));
  /** @param {boolean} isAsked */
  const ask = (isAsked) => {
    setShown(sure, isAsked);
    setAttribute(end, "aria-expanded", String(isAsked));
    if (isAsked) /** @type {HTMLElement} */ (sure.lastElementChild).focus();
    else form.focus();
  };
  const greeting = element("p", { class: "greeting", dir: "auto" });
  const typist = element("p", { class: "typing" });
  const done = element("p", { class: "done" });
  const refused = element("p", { class: "problem" }, say("refused"));
  const scroll = element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": say("log") }, greeting, log.root, done, typist, refused);
  const over = element("p");
  const again = element("button", { type: "button", class: "filled", onclick: () => begin() }, say("again"));
  const ended = element("div", { class: "ended" }, over, again);
  const panel = element(
    "section",
    { class: "panel", id: "panel", role: "dialog", "aria-labelledby": "title", hidden: true },
    element("header", {}, element("div", { class: "heading" }, element("h2", { id: "title", dir: "auto" }, title), about), end, sound, cross),
    status, lost, sure, scroll, form.root, ended,
  );
  const badge = element("span", { class: "badge", "aria-hidden": "true" });
  const launcher = element(
    "button",
    { type: "button", class: "launcher", "aria-haspopup": "dialog", "aria-expanded": "false", "aria-controls": "panel", onclick: () => (panel.hidden ? open() : close()) },
    icon(BUBBLE), icon(CROSS), badge,
  );
  const root = element("div", { class: "root", lang: language, dir: "ltr", "data-theme": options.theme, "data-side": options.isLeft ? "left" : "right" }, panel, launcher);

  const begin = () => {
    chat.again();
    form.write(tab.read().draft);
    show();
    form.focus();
  };

  /** @param {{byUser?: boolean}} [how] */
  const open = ({ byUser = true } = {}) => {
    if (!host.isConnected) document.body.append(host);
    panel.hidden = false;
    tab.write({ ...tab.read(), isShown: true });
    toggled(true);
    show();
    fitWindow();
    form.fit();
    toBottom();
    if (byUser) (form.root.hidden ? again : form).focus();
  };

  const close = () => {
    if (panel.hidden) return;
    const hadFocus = shadow.activeElement !== null;
    panel.hidden = true;
    tab.write({ ...tab.read(), isShown: false });
    toggled(false);
    show();
    if (hadFocus) launcher.focus();
  };

  let isAtBottom = true;
  scroll.addEventListener("scroll", () => {
    isAtBottom = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < BOTTOM_PX;
  });
  /** Show the newest messages, or the greeting if there are none. */
  const toBottom = () => {
    scroll.scrollTop = log.root.firstElementChild ? scroll.scrollHeight : 0;
  };

  /** On a phone the panel has the part of the window that the keyboard leaves. */
  const fitWindow = () => {
    const seen = window.visualViewport;
    if (!seen || panel.hidden) return;
    const isSmall = matchMedia(SMALL).matches;
    panel.style.height = isSmall ? `${seen.height}px` : "";
    panel.style.top = isSmall ? `${seen.offsetTop}px` : "";
    if (isAtBottom) toBottom();
  };

  /** Show what there is to show. */
  const show = () => {
    const state = chat.state;
    const { phase, lines, agent, isRefused } = state;
    const isOpen = !panel.hidden;
    const unread = isOpen ? 0 : state.unread;
    if (!host.isConnected && document.body) document.body.append(host);

    const isOffline = phase === "none" && !isAvailable();
    const name = (/** @type {string | null} */ given) => given || agent || say("agent");
    const mayEnd = phase === "chat" && lines.some((line) => line.state === "published");
    setText(about, phase === "chat" && agent !== null ? (agent ? say("talking", { name: agent }) : say("accepted")) : phase === "ended" ? say("ended") : phase === "chat" && state.offline === null && !isRefused && mayEnd ? say("waiting") : say(isAvailable() ? "online" : "away"));
    setText(greeting, isOffline || state.offline !== null ? (options.offlineText ?? say("offline_text")) : (options.greeting ?? say("greeting")));
    const isAdded = log.show(lines);
    setText(typist, state.typist ? say("typing", { name: name(state.typist.name) }) : "");
    setShown(typist, state.typist !== null && phase === "chat" && !state.isCut);
    const isDone = state.offline !== null && !agent;
    setText(done, isDone ? say("offline_done", { email: state.offline ?? "" }) : "");
    setShown(done, isDone);
    setShown(refused, isRefused);
    setShown(end, mayEnd);
    if (!mayEnd) setShown(sure, false);
    setShown(lost, state.isCut && phase !== "none");
    setText(over, say(state.isExpired ? "expired" : "ended"));
    setShown(ended, phase === "ended");
    setShown(form.root, phase !== "ended");
    form.fill(state);
    form.show(isOffline ? "offline" : phase === "none" && options.asksName ? "first" : "message");
    const failed = lines.some((line) => line.state === "failed") ? say("failed") : "";
    setText(status, !isOpen ? "" : isRefused ? say("refused") : state.isCut && phase !== "none" ? say("lost") : phase === "ended" ? over.textContent ?? "" : failed || done.textContent || typist.textContent || (phase === "chat" ? about.textContent ?? "" : ""));

    setAttribute(sound, "aria-label", say(isQuiet() ? "sound_on" : "sound_off"));
    setShown(sound, options.hasSound);
    if (sound.dataset.quiet !== String(isQuiet())) {
      sound.dataset.quiet = String(isQuiet());
      sound.textContent = "";
      sound.append(icon(isQuiet() ? BELL_OFF : BELL));
    }
    setText(badge, unread > 9 ? "9+" : String(unread));
    setShown(badge, unread > 0);
    setAttribute(launcher, "aria-expanded", String(isOpen));
    setAttribute(launcher, "aria-label", isOpen ? say("close") : [say("open", { title }), unread && say("unread", { count: unread })].filter(Boolean).join(", "));
    if (isAtBottom || (isAdded && lines[lines.length - 1].from === "visitor")) toBottom();
    if (isOpen && !document.hidden) chat.read();
  };

  const { accent, onAccent, light, dark } = colorsOf(options.color);
  for (const [property, value] of Object.entries({ "--accent": accent, "--on-accent": onAccent, "--light": light, "--dark": dark })) root.style.setProperty(property, value);
  addStyle(shadow, nonce);
  shadow.append(root);
  form.write(tab.read().draft);
  // Shortcuts of the site are not meant: for it, keys that are typed here come from an element that is no field.
  for (const type of ["keydown", "keypress", "keyup", "paste"]) root.addEventListener(type, (event) => event.stopPropagation());
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing) close();
  });
  for (const type of ["resize", "scroll"]) window.visualViewport?.addEventListener(type, fitWindow);

  return { open, close, show, clear: form.clear, isSmall: () => matchMedia(SMALL).matches, get isOpen() { return !panel.hidden; } };
}
