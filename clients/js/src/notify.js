// Notifications of changes, at most once a frame.

/** @template {Record<string, any>} Names */
export class Emitter {
  /** @type {Map<keyof Names, Set<(value: any) => void>>} */
  #callbacks = new Map();
  #failed;

  /** @param {(error: unknown) => void} failed is called with what a callback throws */
  constructor(failed) {
    this.#failed = failed;
  }

  /**
   * @template {keyof Names} Name
   * @param {Name} name
   * @param {(value: Names[Name]) => void} callback
   * @param {{signal?: AbortSignal}} [options]
   * @returns {() => void} removes the callback.
   */
  on(name, callback, { signal } = {}) {
    // A function of its own: the same callback may be added twice.
    /** @param {Names[Name]} value */
    const call = (value) => callback(value);
    const callbacks = this.#callbacks.get(name) ?? new Set();
    this.#callbacks.set(name, callbacks);
    return addUntil(callbacks, call, signal);
  }

  /**
   * @template {keyof Names} Name
   * @param {Name} name
   * @param {Names[Name]} value
   */
  emit(name, value) {
    for (const callback of [...(this.#callbacks.get(name) ?? [])]) {
      try {
        callback(value);
      } catch (error) {
        this.#failed(error);
      }
    }
  }
}

/**
 * Add to a set, until the returned function is called or the signal is aborted.
 *
 * @template T
 * @param {Set<T>} set
 * @param {T} item
 * @param {AbortSignal | undefined} signal
 */
function addUntil(set, item, signal) {
  const remove = () => {
    set.delete(item);
    // A signal may live longer than what it ends.
    signal?.removeEventListener("abort", remove);
  };
  if (!signal?.aborted) set.add(item);
  signal?.addEventListener("abort", remove);
  return remove;
}

/** @typedef {{kinds: Set<string>, keys: Set<string>}} Change */

/** @param {() => void} flush */
function schedule(flush) {
  if (typeof document === "undefined") return void setTimeout(flush, 0);
  const run = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    flush();
  };
  // A hidden page has no frames, and may have been visible a moment ago.
  const timer = setTimeout(run, 250);
  const frame = requestAnimationFrame(run);
}

/** Collects changes and reports them once a frame; runs selectors and reports those that changed. */
export class Notifier {
  /** @type {Set<string>} */
  #keys = new Set();
  #isScheduled = false;
  #isRebuilt = false;
  /** @type {Set<() => void>} */
  #watches = new Set();
  #changed;
  #failed;
  #schedule;

  /**
   * @param {(change: Change) => void} changed
   * @param {(error: unknown) => void} failed
   * @param {(flush: () => void) => void} [scheduler]
   */
  constructor(changed, failed, scheduler = schedule) {
    this.#changed = changed;
    this.#failed = failed;
    this.#schedule = scheduler;
  }

  /**
   * Report these keys in the next frame. With `always`, selectors run even if there are none.
   * @param {Iterable<string>} keys
   * @param {boolean} [always]
   */
  add(keys, always = false) {
    for (const key of keys) this.#keys.add(key);
    this.#isRebuilt ||= always;
    if (this.#isScheduled || !(this.#keys.size || this.#isRebuilt)) return;
    this.#isScheduled = true;
    this.#schedule(() => this.flush());
  }

  /** Report what was collected. */
  flush() {
    this.#isScheduled = this.#isRebuilt = false;
    const keys = this.#keys;
    this.#keys = new Set();
    for (const run of [...this.#watches]) run();
    if (keys.size) this.#changed({ kinds: new Set([...keys].map((key) => JSON.parse(key)[0])), keys });
  }

  /**
   * Call back with what `select` returns, now and whenever it changes.
   * @template T
   * @param {() => T} select
   * @param {(value: T, before: T | undefined) => void} callback
   * @param {{equal?: (one: T, other: T) => boolean, signal?: AbortSignal}} [options]
   * @returns {() => void} ends it.
   */
  watch(select, callback, { equal = Object.is, signal } = {}) {
    /** @type {{value: T} | undefined} */
    let known;
    const run = () => {
      try {
        const value = select();
        if (known && equal(known.value, value)) return;
        const before = known?.value;
        known = { value };
        callback(value, before);
      } catch (error) {
        this.#failed(error);
      }
    };
    if (!signal?.aborted) run();
    return addUntil(this.#watches, run, signal);
  }
}
