/** @template {Record<string, any>} Names */
export class Emitter<Names extends Record<string, any>> {
    /** @param {(error: unknown) => void} failed is called with what a callback throws */
    constructor(failed: (error: unknown) => void);
    /**
     * @template {keyof Names} Name
     * @param {Name} name
     * @param {(value: Names[Name]) => void} callback
     * @param {{signal?: AbortSignal}} [options]
     * @returns {() => void} removes the callback.
     */
    on<Name extends keyof Names>(name: Name, callback: (value: Names[Name]) => void, { signal }?: {
        signal?: AbortSignal;
    }): () => void;
    /**
     * @template {keyof Names} Name
     * @param {Name} name
     * @param {Names[Name]} value
     */
    emit<Name extends keyof Names>(name: Name, value: Names[Name]): void;
    #private;
}
/** Collects changes and reports them once a frame; runs selectors and reports those that changed. */
export class Notifier {
    /**
     * @param {(change: Change) => void} changed
     * @param {(error: unknown) => void} failed
     * @param {(flush: () => void) => void} [scheduler]
     */
    constructor(changed: (change: Change) => void, failed: (error: unknown) => void, scheduler?: (flush: () => void) => void);
    /**
     * Report these keys in the next frame. With `always`, selectors run even if there are none.
     * @param {Iterable<string>} keys
     * @param {boolean} [always]
     */
    add(keys: Iterable<string>, always?: boolean): void;
    /** Report what was collected. */
    flush(): void;
    /**
     * Call back with what `select` returns, now and whenever it changes.
     * @template T
     * @param {() => T} select
     * @param {(value: T, before: T | undefined) => void} callback
     * @param {{equal?: (one: T, other: T) => boolean, signal?: AbortSignal}} [options]
     * @returns {() => void} ends it.
     */
    watch<T>(select: () => T, callback: (value: T, before: T | undefined) => void, { equal, signal }?: {
        equal?: (one: T, other: T) => boolean;
        signal?: AbortSignal;
    }): () => void;
    #private;
}
export type Change = {
    kinds: Set<string>;
    keys: Set<string>;
};
