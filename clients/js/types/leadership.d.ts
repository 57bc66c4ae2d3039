/** @typedef {ReturnType<typeof leadershipOf>} Leadership */
/**
 * @param {import("./env.js").Env} env
 * @param {string} name of the lock
 * @param {{lead: () => void, lost: () => void, ask: () => void, mayReplace: () => boolean}} tab `lead`: it holds the lock;
 *   `lost`: another tab took the lock from it; `mayReplace`: the leader does not answer
 */
export function leadershipOf(env: import("./env.js").Env, name: string, tab: {
    lead: () => void;
    lost: () => void;
    ask: () => void;
    mayReplace: () => boolean;
}): {
    release: () => void;
    /** Wait for the lock, which the leading tab has. */
    wait(): void;
    /** Take the place of a leader that does not answer, unless another tab does so or it answers at last. */
    replace(): void;
    /** Neither lead nor wait any more. @param {boolean} later whether to release the lock after a moment */
    close(later: boolean): void;
};
export type Leadership = ReturnType<typeof leadershipOf>;
