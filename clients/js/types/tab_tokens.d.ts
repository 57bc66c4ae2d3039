/** @typedef {ReturnType<typeof tabTokensOf>} TabTokens */
/**
 * @param {import("./env.js").Env} env
 * @param {(reason: TokenReason) => Promise<string | null>} own asks the page of this tab
 * @param {(type: string, content: object) => void} post sends a message to the other tabs
 */
export function tabTokensOf(env: import("./env.js").Env, own: (reason: TokenReason) => Promise<string | null>, post: (type: string, content: object) => void): {
    /**
     * Return a token of this tab, or else of another one, the next after 3 s.
     *
     * @param {TokenReason} reason
     * @param {string[]} tabs the others, in the order in which to ask them
     * @returns {Promise<string | null>}
     */
    token: (reason: TokenReason, tabs: string[]) => Promise<string | null>;
    /** Take the answer of another tab. @param {{n: number, token?: string, refused?: string, failed?: string}} message */
    hear({ n, token, refused, failed }: {
        n: number;
        token?: string;
        refused?: string;
        failed?: string;
    }): void;
    /** Answer the tab that leads. @param {{n: number, reason: TokenReason}} message */
    answer({ n, reason }: {
        n: number;
        reason: TokenReason;
    }): Promise<void>;
    /** Give up what is not answered. */
    close(): void;
};
export type TabTokens = ReturnType<typeof tabTokensOf>;
export type TokenReason = import("./types.js").TokenReason;
