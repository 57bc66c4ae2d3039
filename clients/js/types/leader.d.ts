/**
 * @param {import("./types.js").Tab} tab
 * @param {import("./tab_tokens.js").TabTokens} tokens
 * @param {{token: string | null, at: number} | null} first a token that was not used, and when it was fetched
 */
export function leaderOf(tab: import("./types.js").Tab, tokens: import("./tab_tokens.js").TabTokens, first: {
    token: string | null;
    at: number;
} | null): {
    leads: boolean;
    isSilent: () => boolean;
    start(): void;
    /** Close the connection without a status: another tab leads, or this one is closed. */
    stop(): void;
    /** @param {object} message */
    send: (message: object) => boolean;
    probe: () => void;
    online: () => void;
    ask(): void;
    begin(): void;
    /** Forget tabs that were frozen. */
    tick(): boolean;
    /** Take a message of another tab. @param {any} message */
    hear({ type, from, visible, probe, heartbeat, message }: any): void;
};
