// How much room the chats have: as many columns as are wide enough, down to the lower edge of the window.

/** The least width of a column, in multiples of the size of the letters. */
const LEAST_WIDTH = 20;
/** What is free below the chats. */
const MARGIN_PX = 16;

/**
 * Set the height of the chats, and call back with how many columns there is room for, now and when it changes.
 * @param {HTMLElement} root
 * @param {(columns: number) => void} callback
 */
export function followRoom(root, callback) {
  const measure = () => {
    const top = root.getBoundingClientRect().top + scrollY;
    root.style.setProperty("--chats-height", `${Math.floor(innerHeight - top - MARGIN_PX)}px`);
    const letters = Number.parseFloat(getComputedStyle(root).fontSize) || 16;
    callback(root.clientWidth / (LEAST_WIDTH * letters));
  };
  const observer = new ResizeObserver(measure);
  // What is above the chats moves them when its height changes.
  for (const element of [root, document.body]) observer.observe(element);
  addEventListener("resize", measure);
  measure();
}
