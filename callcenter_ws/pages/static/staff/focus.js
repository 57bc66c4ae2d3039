// The focus is never lost: when what had it is drawn no longer, what it was in has it. Never a control beside it, which the
// next press of Enter would press.

/** What can have the focus in place of what was in it, from the inside to the outside. */
const PLACES = "article, li, tr, form, fieldset, section, aside, nav, main, dialog, header, table, [role=group], [tabindex]";

/** The present focus, and what it is in, from the inside to the outside. @type {HTMLElement[]} */
let path = [];

/** @param {HTMLElement} element */
const isShown = (element) => element.isConnected && element.getClientRects().length > 0;

/** Return what is to have the focus: the title of the innermost place that is left, or that place. */
function place() {
  for (const [at, element] of path.entries()) {
    if (at === 0 || !isShown(element) || !element.matches(PLACES)) continue;
    return /** @type {HTMLElement | null} */ (element.querySelector(":scope > [tabindex='-1'], :scope > header > [tabindex='-1']")) ?? element;
  }
  return /** @type {HTMLElement | null} */ (document.querySelector("main"));
}

function keep() {
  const [focused] = path;
  if (!focused || document.activeElement !== document.body || (isShown(focused) && !focused.matches(":disabled"))) return;
  const next = place();
  if (!next) return;
  if (next.tabIndex < 0 && !next.hasAttribute("tabindex")) {
    next.setAttribute("tabindex", "-1");
    next.addEventListener("blur", () => next.removeAttribute("tabindex"), { once: true });
  }
  next.focus({ preventScroll: true });
}

/** Have a page keep the focus. A page calls it once. */
export function keepFocus() {
  document.addEventListener("focusin", ({ target }) => {
    path = [];
    for (let one = /** @type {HTMLElement | null} */ (target); one && one !== document.body; one = one.parentElement) path.push(one);
  });
  // A click beside all controls takes the focus away on purpose.
  document.addEventListener("pointerdown", ({ target }) => {
    if (!path[0]?.contains(/** @type {Node} */ (target))) path = [];
  });
  // After all that was drawn at once, and before it is seen: who draws may have found a better place meanwhile.
  new MutationObserver(keep).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden", "disabled", "open"] });
}
