/** Tokens of the page, and whose they are. */

import { askForToken, claims, identityOf } from "./tokens.js";

/** @typedef {import("./types.js").TokenReason} TokenReason */

export class Credentials {
  /** Whom the present state belongs to. @type {string | null} */
  key = null;
  #options;
  #env;
  #changed;
  /** The token that the gateway gave to an anonymous visitor. @type {string | null} */
  #session = null;
  /** A token that was fetched and not used. @type {string | null} */
  #fresh = null;
  /** @type {{name?: string, queues: string[] | null}} */
  #claims = { queues: null };

  /**
   * @param {import("./types.js").Options} options
   * @param {import("./env.js").Env} env
   * @param {() => void} changed the next token is another user's
   */
  constructor(options, env, changed) {
    this.#options = options;
    this.#env = env;
    this.#changed = changed;
  }

  /** Whether it is not known yet whose connection it will be. */
  get isAnonymous() {
    return this.#options.anonymous && !this.#session;
  }

  /**
   * Return a token for the connection; null: a visitor has none.
   *
   * @param {TokenReason} reason
   * @returns {Promise<string | null>}
   */
  async token(reason) {
    const { anonymous, token: callback } = this.#options;
    const session = anonymous && this.#session;
    if (!session && !callback) return null;
    const token = session || (this.#fresh ?? (await askForToken(/** @type {any} */ (callback), reason, this.#env)));
    this.#fresh = null;
    const key = identityOf(token);
    const isOther = this.key !== null && key !== this.key;
    this.key = key;
    if (isOther) {
      this.#fresh = token;
      this.#changed();
      throw new Error("the token is for another user");
    }
    const { name, queues } = claims(token);
    this.#claims = { name, queues: Array.isArray(queues) ? queues.map(String) : null };
    return token;
  }

  /** Return whose connection a `welcome` says it is. @param {any} welcome @returns {import("./types.js").Identity} */
  welcome({ user_id, tenant_id, role, session_id, session_token, token_expires_at, policy, commands, extension = null }) {
    if (session_token) this.#session = session_token;
    return { user_id, tenant_id, role, session_id, token_expires_at, policy, commands, extension, ...this.#claims };
  }

  /** @param {import("./types.js").Identity} identity @param {string | null} token_expires_at @returns {import("./types.js").Identity} */
  extended(identity, token_expires_at) {
    return { ...identity, ...this.#claims, token_expires_at };
  }
}
