/**
 * The effect of an event on the state; see `GET /schemas/slots`.
 * @typedef {{kind: string, entity: string[][], keeps?: string, drops?: string, appends?: boolean,
 *   while_true?: string, lasting?: boolean}} Effect
 */
/** @type {[string, Effect][]} */
export const EFFECTS: [string, Effect][];
/** @type {{[type: string]: string[]}} */
export const FIGURES: {
    [type: string]: string[];
};
export const LIFETIME_MS: 86400000;
export const MAX_SLOTS: 50000;
export const MAX_LASTING: 50000;
/**
 * The effect of an event on the state; see `GET /schemas/slots`.
 */
export type Effect = {
    kind: string;
    entity: string[][];
    keeps?: string;
    drops?: string;
    appends?: boolean;
    while_true?: string;
    lasting?: boolean;
};
