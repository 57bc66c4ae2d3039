/** The events of the page that a client listens to. */
/**
 * @param {import("./env.js").Env} env
 * @param {AbortSignal} signal ends it
 * @param {{online: () => void, probe: () => void, pause: () => void, resume: () => void}} client
 */
export function listenToPage({ page, isVisible }: import("./env.js").Env, signal: AbortSignal, { online, probe, pause, resume }: {
    online: () => void;
    probe: () => void;
    pause: () => void;
    resume: () => void;
}): void;
