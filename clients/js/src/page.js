/** The events of the page that a client listens to. */

/**
 * @param {import("./env.js").Env} env
 * @param {AbortSignal} signal ends it
 * @param {{online: () => void, probe: () => void, pause: () => void, resume: () => void}} client
 */
export function listenToPage({ page, isVisible }, signal, { online, probe, pause, resume }) {
  if (!page) return;
  const on = (/** @type {string} */ names, /** @type {(event: any) => void} */ callback) => {
    for (const name of names.split(" ")) page.addEventListener(name, callback, { signal, capture: true });
  };
  on("online", online);
  on("offline", probe);
  // Not that of an element of the page.
  on("focus", ({ target }) => target === page && probe());
  on("visibilitychange", () => isVisible() && probe());
  // A tab that is frozen receives nothing, but may go on to answer other tabs: it must not lead.
  on("pagehide freeze", pause);
  on("pageshow", ({ persisted }) => persisted && resume());
  on("resume", resume);
}
