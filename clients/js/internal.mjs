/**
 * Members that only the client's own modules use: the bundle has short names for them. None of them may be part of a message
 * of the gateway, of a message between tabs (whose pages may be of two versions), of an object of the browser, or of what a
 * page uses: a test finds out (tests/clients/internal_names.mjs).
 */
export const INTERNAL = `
  acks after ask base begin cancel clearTimeout clock emit emitter entities env extended flush forget hear host isAnonymous
  isCatchingUp isIncomplete isOpen isSilent isVisible lane lead leader limit limited live loaded mayReplace notBefore notifier
  options pause post rebuild receive received release renew report requests restart resume resumed revisionOf roundTrip sample
  sent serverTime setTimeout start stop stream take takeOver tell tick timers tried tries viewer wait wake wall
`.trim().split(/\s+/);

/** More of them, which the modules of the widget alone use. What they store, or a site uses, is not among them. */
export const OF_THE_WIDGET = `
  adopt asksName changed gateway happened hasSound isAvailable isCut isExpired isLeft isQuiet isRefused isSmall kept
  offlineText onAccent phase rings toggleSound toggled typist unlock
`.trim().split(/\s+/);

/** Those that the widget uses of objects of the browser, too: its bundle keeps them as they are. */
export const OF_THE_BROWSER = ["resume", "start", "stop"];
