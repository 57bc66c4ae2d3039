/** @param {(frame: object) => void} send @param {import("./timers.js").Clock} env */
export function acksOf(send: (frame: object) => void, env: import("./timers.js").Clock): {
    flush: () => void;
    /** @param {string} id */
    add(id: string): void;
};
