// Keeps the screen on, where the browser allows it.

/**
 * Ask that the screen stays on, now and each time the page is shown again.
 * @param {{signal?: AbortSignal}} [options]
 */
export function keepAwake({ signal } = {}) {
  const ask = () => {
    // Browsers without it, and those that refuse it, leave that to the settings of the screen.
    if (document.visibilityState === "visible") navigator.wakeLock?.request("screen").catch(() => {});
  };
  document.addEventListener("visibilitychange", ask, { signal });
  ask();
}
