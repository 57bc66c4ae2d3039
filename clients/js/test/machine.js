// A browser with several tabs: its locks and channels, and whether each tab hears and is heard.
import { World, settle, token } from "./world.js";

/** The locks and channels of a browser, and whether each tab gets what it is due. */
export class Machine {
  world = new World();
  #channels = new Set();
  #held = new Map();
  #queues = new Map();

  /** A tab: a client with surroundings of its own. */
  tab(name, options = {}) {
    const machine = this;
    const tab = { name, silent: false, deaf: false, page: new EventTarget(), visible: true };
    class Channel {
      constructor(name) {
        this.name = name;
        machine.#channels.add(this);
        this.tab = tab;
      }
      postMessage(data) {
        if (tab.silent) return;
        for (const other of machine.#channels) {
          if (other === this || other.name !== this.name) continue;
          const copy = structuredClone(data);
          queueMicrotask(() => machine.#channels.has(other) && !other.tab.deaf && other.onmessage?.({ data: copy }));
        }
      }
      close() {
        machine.#channels.delete(this);
      }
    }
    const request = (name, options, callback) => machine.#request(name, options, callback);
    const env = { ...this.world.env, BroadcastChannel: Channel, locks: { request }, page: tab.page, isVisible: () => tab.visible };
    const { world } = this;
    return Object.assign(tab, World.prototype.client.call({ env }, { token: () => token({ tab: name }), ...options }), { world });
  }

  /** Have all channels receive a message. */
  broadcast(data) {
    for (const channel of this.#channels) channel.onmessage?.({ data });
  }

  async #request(name, { signal, steal, ifAvailable }, callback) {
    await null;
    const held = this.#held.get(name);
    if (ifAvailable && held) return callback(null);
    if (steal && held) held.reject(new DOMException("stolen", "AbortError"));
    else if (held) {
      await new Promise((resolve, reject) => {
        const queue = this.#queues.get(name) ?? [];
        this.#queues.set(name, queue);
        queue.push(resolve);
        signal?.addEventListener("abort", () => {
          this.#queues.set(name, this.#queues.get(name).filter((one) => one !== resolve));
          reject(signal.reason);
        });
      });
    }
    return new Promise((resolve, reject) => {
      const lock = { reject };
      this.#held.set(name, lock);
      Promise.resolve(callback({ name })).then((value) => {
        if (this.#held.get(name) === lock) {
          this.#held.delete(name);
          this.#queues.get(name)?.shift()?.();
        }
        resolve(value);
      });
    });
  }
}

/** Let all messages between tabs arrive. */
export async function flush() {
  for (let times = 0; times < 5; times += 1) await settle();
}
