/** @typedef {import("./types.js").TokenReason} TokenReason */
export class Credentials {
    /**
     * @param {import("./types.js").Options} options
     * @param {import("./env.js").Env} env
     * @param {() => void} changed the next token is another user's
     */
    constructor(options: import("./types.js").Options, env: import("./env.js").Env, changed: () => void);
    /** Whom the present state belongs to. @type {string | null} */
    key: string | null;
    /** Whether it is not known yet whose connection it will be. */
    get isAnonymous(): boolean | undefined;
    /**
     * Return a token for the connection; null: a visitor has none.
     *
     * @param {TokenReason} reason
     * @returns {Promise<string | null>}
     */
    token(reason: TokenReason): Promise<string | null>;
    /** Return whose connection a `welcome` says it is. @param {any} welcome @returns {import("./types.js").Identity} */
    welcome({ user_id, tenant_id, role, session_id, session_token, token_expires_at, policy, commands, extension }: any): import("./types.js").Identity;
    /** @param {import("./types.js").Identity} identity @param {string | null} token_expires_at @returns {import("./types.js").Identity} */
    extended(identity: import("./types.js").Identity, token_expires_at: string | null): import("./types.js").Identity;
    #private;
}
export type TokenReason = import("./types.js").TokenReason;
