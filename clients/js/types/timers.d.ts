/** Timers with names. */
/** @typedef {{setTimeout: (callback: () => void, ms: number) => any, clearTimeout: (timer: any) => void}} Clock */
/** @typedef {ReturnType<typeof timersOf>} Timers */
/** @param {Clock} env */
export function timersOf(env: Clock): {
    cancel: (name: string) => void;
    /** @param {string} name */
    has: (name: string) => boolean;
    /** Call back after a time, in place of what is pending under this name. @param {string} name @param {number} ms @param {() => void} callback */
    after(name: string, ms: number, callback: () => void): void;
    /** Cancel all but one. @param {string} [kept] */
    clear(kept?: string): void;
};
export type Clock = {
    setTimeout: (callback: () => void, ms: number) => any;
    clearTimeout: (timer: any) => void;
};
export type Timers = ReturnType<typeof timersOf>;
