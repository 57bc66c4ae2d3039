/**
 * Send a fresh token, and again until the timer "renew" is canceled because the session is extended.
 *
 * @param {{host: import("./types.js").Host, timers: import("./timers.js").Timers, send: (frame: object) => void,
 *   isOpen: () => boolean, refused: (text: string) => void}} connection `isOpen`: whether the same socket is open
 * @param {number} [delay] until the next attempt, if this one fails
 * @returns {Promise<void>}
 */
export function renew(connection: {
    host: import("./types.js").Host;
    timers: import("./timers.js").Timers;
    send: (frame: object) => void;
    isOpen: () => boolean;
    refused: (text: string) => void;
}, delay?: number): Promise<void>;
