// Drawing at most once a frame.

/**
 * Return a function that has `draw` called once before the next frame. In a hidden tab there are no frames: it is called
 * after a second then, so that a tab that is shown again is right at once.
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
    if (document.hidden) setTimeout(run, 1000);
  };
}
