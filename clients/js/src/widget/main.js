/** The chat of a site's visitors, by one script element: docs/widget.rst. */

import { connect } from "../client.js";
import { attentionOf } from "./attention.js";
import { chatOf } from "./chat.js";
import { optionsOf, originOf } from "./options.js";
import { entryOf, nothingKept, nothingOfTab } from "./storage.js";
import { languageOf, wordsOf } from "./texts.js";
import { viewOf } from "./view.js";

/** @typedef {import("./options.js").Answer} Answer */
/** @typedef {"open" | "close" | "message" | "started" | "ended" | "unread"} Name */
/**
 * `window.callcenterWidget`. A site may set `token` and `texts` before the script runs, and `token` at any time.
 * @typedef {{open?: () => void, close?: () => void, reset?: () => void, on?: (name: Name, callback: (value: any) => void) => () => void,
 *   token?: import("./chat.js").SiteToken, texts?: import("./texts.js").Tables}} Api
 */

const FIRST_RETRY_MS = 10000;
const MAX_RETRY_MS = 300000;
/** For so long it is not asked again whether agents are there, if they were. */
const FRESH_MS = 15000;

const LOG = "callcenter-ws widget:";

/** @param {HTMLScriptElement} script @param {{gateway: string, tenant: string}} origin @param {Api} api */
function begin(script, { gateway, tenant }, api) {
  const key = `callcenter-ws:widget:${gateway}:${tenant}`;
  const kept = entryOf(() => localStorage, key, nothingKept);
  const tab = entryOf(() => sessionStorage, key, nothingOfTab);
  const sound = entryOf(() => localStorage, `${key}:sound`, () => ({ off: false }));
  let isQuiet = sound.read().off;
  /** @type {Answer | null} */
  let answer = null;
  let answeredAt = 0;
  let retryMs = FIRST_RETRY_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {ReturnType<typeof viewOf> | null} */
  let view = null;
  let isWanted = false;
  let options = optionsOf(script.dataset, {});
  /** @type {Map<Name, Set<(value: any) => void>>} */
  const callbacks = new Map();
  let token = api.token;
  let isScheduled = false;
  let unread = 0;

  /** @param {Name} name @param {object} value */
  const happened = (name, value) => {
    for (const callback of [...(callbacks.get(name) ?? [])]) {
      try {
        callback(value);
      } catch (error) {
        console.error(error);
      }
    }
  };

  const render = () => {
    isScheduled = false;
    view?.show();
    const state = chat.state;
    attention.show(view?.isOpen && !document.hidden ? 0 : state.unread);
    if (state.unread !== unread) happened("unread", { count: (unread = state.unread) });
  };
  const changed = () => {
    if (isScheduled) return;
    isScheduled = true;
    queueMicrotask(render);
  };

  const chat = chatOf({
    url: `${gateway}ws/public`,
    tenant,
    connect,
    kept,
    tab,
    token: () => token,
    queue: () => options.queue,
    changed,
    happened(name, value) {
      if (name === "message") attention.message();
      happened(name, value);
    },
  });
  const attention = attentionOf(chat, () => options.hasSound && !isQuiet);

  const isKept = () => chat.state.phase !== "none";

  /** Build what is shown, once it is known how, and for whom. */
  const build = () => {
    if (view || !(isKept() || (answer && (answer.anonymous || token)))) return;
    options = optionsOf(script.dataset, answer?.widget ?? {});
    const language = languageOf([options.language, document.documentElement.lang], api.texts);
    view = viewOf({
      chat, language, options, tab,
      say: wordsOf(language, api.texts),
      nonce: script.nonce ?? "",
      isAvailable: () => answer?.available ?? true,
      isQuiet: () => isQuiet,
      toggleSound: () => sound.write({ off: (isQuiet = !isQuiet) }),
      toggled(isOpen) {
        attention.unlock();
        if (isOpen) refresh();
        happened(isOpen ? "open" : "close", {});
      },
    });
    view.show();
    if (isWanted) view.open();
    else if (tab.read().isShown && !view.isSmall()) view.open({ byUser: false });
  };

  const refresh = async () => {
    if (answer?.available && Date.now() < answeredAt + FRESH_MS) return;
    clearTimeout(timer);
    answeredAt = Date.now();
    try {
      const response = await fetch(`${gateway}ws/public/widget?tenant_id=${encodeURIComponent(tenant)}`, { credentials: "omit" });
      if (response.status >= 400 && response.status < 500 && response.status !== 429) {
        const { error } = await response.json().catch(() => ({}));
        console.warn(LOG, error?.message ?? `HTTP ${response.status}`);
      } else if (!response.ok) throw new Error(`HTTP ${response.status}`);
      else answer = await response.json();
    } catch {
      // The gateway cannot be reached: the site goes on without a chat, and it is tried again.
      answeredAt = 0;
      if (!answer) timer = setTimeout(refresh, retryMs * (0.8 + 0.4 * Math.random()));
      retryMs = Math.min(MAX_RETRY_MS, retryMs * 2);
    }
    build();
    changed();
    // Agents come perhaps while the visitor looks.
    if (view?.isOpen && !answer?.available) timer = setTimeout(refresh, FRESH_MS);
  };

  Object.assign(api, {
    open() {
      isWanted = true;
      view?.open();
    },
    close() {
      isWanted = false;
      view?.close();
    },
    reset() {
      chat.reset();
      view?.clear();
    },
    /** @param {Name} name @param {(value: any) => void} callback */
    on(name, callback) {
      const known = callbacks.get(name) ?? new Set();
      callbacks.set(name, known.add(callback));
      return () => void known.delete(callback);
    },
  });
  Object.defineProperty(api, "token", {
    get: () => token,
    set(given) {
      token = given;
      build();
    },
  });

  addEventListener("storage", (event) => {
    if (event.key === key) chat.adopt();
    if (event.key === sound.key) isQuiet = sound.read().off;
    build();
    changed();
  });
  document.addEventListener("visibilitychange", changed);
  chat.resume();
  refresh();
}

/** @returns {HTMLScriptElement | null} */
const ownScript = () => /** @type {HTMLScriptElement | null} */ (document.currentScript ?? document.querySelector("script[data-tenant][src*='widget.js']"));

const script = ownScript();
const origin = script && originOf(script);
const all = /** @type {{callcenterWidget?: Api}} */ (/** @type {unknown} */ (window));
if (!script || !origin) console.error(LOG, "the script element needs data-tenant, and a src that is the gateway's");
else if (!all.callcenterWidget?.open) {
  const api = (all.callcenterWidget ??= {});
  if (document.body) begin(script, origin, api);
  else addEventListener("DOMContentLoaded", () => begin(script, origin, api));
}
