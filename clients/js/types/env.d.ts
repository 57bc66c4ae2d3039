/** What the client uses of its surroundings: a browser, or Node. Tests pass their own. */
/**
 * @typedef {{WebSocket: any, fetch: any, now: () => number, wall: () => number, random: () => number,
 *   setTimeout: (callback: () => void, ms: number) => any, clearTimeout: (timer: any) => void,
 *   report: (error: unknown) => void, page: EventTarget | null, isVisible: () => boolean, locks: any, BroadcastChannel: any, base: string | undefined}} Env
 * `page` is the target of `online`, `visibilitychange` and the like; null outside a browser.
 */
/** @returns {Env} */
export function environment(): Env;
/** Return a random identifier, which is no secret. @returns {string} */
export function randomId(): string;
/**
 * `page` is the target of `online`, `visibilitychange` and the like; null outside a browser.
 */
export type Env = {
    WebSocket: any;
    fetch: any;
    now: () => number;
    wall: () => number;
    random: () => number;
    setTimeout: (callback: () => void, ms: number) => any;
    clearTimeout: (timer: any) => void;
    report: (error: unknown) => void;
    page: EventTarget | null;
    isVisible: () => boolean;
    locks: any;
    BroadcastChannel: any;
    base: string | undefined;
};
