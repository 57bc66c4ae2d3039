/** Tokens for the tab that leads: of its own page, or else of another tab. */

import { messageOf } from "./status.js";
import { TokenRefused } from "./tokens.js";

/** @typedef {import("./types.js").TokenReason} TokenReason */

const NEXT_TOKEN_MS = 3000;
const TOKEN_TIMEOUT_MS = 15000;
/** As many other tabs are asked for a token. */
const MAX_ASKED = 8;

/** @typedef {ReturnType<typeof tabTokensOf>} TabTokens */

/**
 * @param {import("./env.js").Env} env
 * @param {(reason: TokenReason) => Promise<string | null>} own asks the page of this tab
 * @param {(type: string, content: object) => void} post sends a message to the other tabs
 */
export function tabTokensOf(env, own, post) {
  /** Questions that are not answered. @type {Map<number, {resolve: (token: string) => void, reject: (error: Error) => void}>} */
  const questions = new Map();
  let counter = 0;

  /** @param {string} to @param {TokenReason} reason @returns {Promise<string>} */
  const ask = (to, reason) => {
    const n = ++counter;
    return new Promise((resolve, reject) => {
      questions.set(n, { resolve, reject });
      post("token?", { n, to, reason });
      env.setTimeout(() => {
        if (questions.delete(n)) reject(new NoAnswer("no tab answers with a token"));
      }, TOKEN_TIMEOUT_MS);
    });
  };

  return {
    /**
     * Return a token of this tab, or else of another one, the next after 3 s.
     *
     * @param {TokenReason} reason
     * @param {string[]} tabs the others, in the order in which to ask them
     * @returns {Promise<string | null>}
     */
    token: (reason, tabs) =>
      new Promise((resolve, reject) => {
        const asked = tabs.slice(0, MAX_ASKED).map((tab) => () => ask(tab, reason));
        /** @type {Error[]} */
        const errors = [];
        let open = 0;
        /** @type {any} */
        let timer;
        const next = (/** @type {(() => Promise<string | null>) | undefined} */ question) => {
          env.clearTimeout(timer);
          if (!question) {
            if (!open) reject(decisive(errors));
            return;
          }
          open += 1;
          timer = env.setTimeout(() => next(asked.shift()), NEXT_TOKEN_MS);
          question().then(
            (token) => {
              env.clearTimeout(timer);
              resolve(token);
            },
            (error) => {
              open -= 1;
              errors.push(error);
              next(asked.shift());
            },
          );
        };
        next(() => own(reason));
      }),
    /** Take the answer of another tab. @param {{n: number, token?: string, refused?: string, failed?: string}} message */
    hear({ n, token, refused, failed }) {
      const question = questions.get(n);
      questions.delete(n);
      if (token) question?.resolve(token);
      else question?.reject(refused === undefined ? new Error(failed) : new TokenRefused(refused));
    },
    /** Answer the tab that leads. @param {{n: number, reason: TokenReason}} message */
    async answer({ n, reason }) {
      try {
        post("token", { n, token: await own(reason) });
      } catch (error) {
        const text = messageOf(error);
        post("token", error instanceof TokenRefused ? { n, refused: text } : { n, failed: text });
      }
    },
    /** Give up what is not answered. */
    close() {
      for (const { reject } of questions.values()) reject(new Error("this tab is closed"));
    },
  };
}

class NoAnswer extends Error {}

/**
 * Return the error of a round in which no tab had a token. The user is signed out only if all that answer say so; a tab
 * without an answer counts for neither.
 *
 * @param {Error[]} errors
 */
function decisive(errors) {
  const answers = errors.filter((error) => !(error instanceof NoAnswer));
  return answers.find((error) => !(error instanceof TokenRefused)) ?? answers[0] ?? errors[0];
}
