// Drawing at most once a frame.

const HIDDEN_MS = 250;

/**
 * Return a function that has `draw` called once before the next frame. In a hidden tab, which has no frames, that is after a
 * moment: what is shown there, as in the list of windows of the system, is right, too.
 * @param {() => void} draw
 * @returns {() => void}
 */
export function onceAFrame(draw) {
  let scheduled = false;
  const run = () => {
    if (!scheduled) return;
    scheduled = false;
    draw();
  };
  return () => {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(run);
    // Also a tab that is hidden before the next frame.
    setTimeout(run, HIDDEN_MS);
  };
}
