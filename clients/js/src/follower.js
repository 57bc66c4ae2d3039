/** The part of a tab that does not lead: receives what the leading tab passes on, and detects when it is silent. */

import { Heartbeat } from "./heartbeat.js";

/** A leader that is silent for 4 s is asked, after 7 s stale, and after 10 s replaced. */
const SILENCE = { idleMs: 4000, answerMs: 3000 };
/** The leader forgets a tab from which no message has come for 5 minutes. */
const REMIND_MS = 60000;

/** @param {import("./types.js").Tab} tab */
export function followerOf(tab) {
  const { host, env, options } = tab;
  const listen = () => new Heartbeat(SILENCE, env.now(), env.wall());
  let silence = listen();
  let isSilent = false;
  /** The number of the last frame; null: the state is needed first. @type {number | null} */
  let last = null;
  let askedAt = 0;

  const ask = (probe = false) => {
    askedAt = env.now();
    tab.post("ask", { probe, visible: env.isVisible(), heartbeat: options.heartbeat });
  };

  const want = () => {
    last = null;
    tab.post("want");
  };

  /** Go on with the leader's frames if this tab misses nothing before them; else ask for the state. @param {any} message */
  const compare = ({ at, frame }) => {
    if (frame === last) return;
    const own = host.position();
    // A leader that tells no position has perhaps received a part of the state already.
    if (at && own && own.epoch === at.epoch && at.seq <= own.seq) last = frame;
    else want();
  };

  /** @param {any} message */
  const receive = ({ frame, messages }) => {
    if (last === null) return;
    if (frame !== last + 1) return want();
    last = frame;
    for (const message of messages) host.receive(message);
  };

  /** @param {any} message */
  const load = ({ to, frame, state }) => {
    if (to !== tab.id || last !== null) return;
    last = frame;
    host.load(state);
  };

  /** @param {import("./types.js").LinkStatus} status */
  const mirror = (status) => {
    // Without the state of the others this tab is not yet where they are.
    const state = status.state === "live" && last === null ? "catching_up" : status.state;
    if (JSON.stringify({ ...status, state }) !== JSON.stringify(tab.status)) tab.tell({ ...status, state }, isSilent);
  };

  return {
    leads: false,
    /** Whether the leader does not answer. */
    isSilent: () => isSilent,
    start() {
      host.shared(false, 1);
      ask();
    },
    stop() {},
    /** Ask who leads. */
    ask,
    /** @param {object} message */
    send(message) {
      if (last === null) return false;
      tab.post("send", { message });
      return true;
    },
    /** Have the leader check its connection, too. */
    probe: () => ask(true),
    /** Ask only: the leader gets the same event, and connects after a moment. */
    online: () => ask(),
    /** Look at the time; return whether the leader is to be replaced. */
    tick() {
      const what = silence.tick(env.now(), env.wall());
      if (!what) {
        // A leader that is never silent is not asked because of silence, and would forget this tab.
        if (env.now() - askedAt > REMIND_MS) ask();
        return false;
      }
      if (what !== "ping") {
        isSilent = true;
        tab.tell(tab.status, true);
      }
      if (what !== "dead") ask();
      else silence = listen();
      return what === "dead";
    },
    /** Note that another tab leads: its frames have numbers of their own, and what it sent before is not known. */
    begin() {
      last = null;
      // So that it knows this tab.
      ask();
    },
    /** Take a message of the leader. @param {any} message */
    hear(message) {
      silence.received(env.now());
      if (isSilent) {
        isSilent = false;
        tab.tell(tab.status);
      }
      if (message.type === "frames") receive(message);
      else if (message.type === "state") load(message);
      else if (message.type === "here") compare(message);
      if (message.shared) host.shared(false, message.shared);
      if (message.status) mirror(message.status);
    },
  };
}
