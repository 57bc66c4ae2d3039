/** @param {import("./types.js").Tab} tab */
export function followerOf(tab: import("./types.js").Tab): {
    leads: boolean;
    /** Whether the leader does not answer. */
    isSilent: () => boolean;
    start(): void;
    stop(): void;
    /** Ask who leads. */
    ask: (probe?: boolean) => void;
    /** @param {object} message */
    send(message: object): boolean;
    /** Have the leader check its connection, too. */
    probe: () => void;
    /** Ask only: the leader gets the same event, and connects after a moment. */
    online: () => void;
    /** Look at the time; return whether the leader is to be replaced. */
    tick(): boolean;
    /** Note that another tab leads: its frames have numbers of their own, and what it sent before is not known. */
    begin(): void;
    /** Take a message of the leader. @param {any} message */
    hear(message: any): void;
};
