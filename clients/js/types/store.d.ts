export function keyOf(kind: string, ...id: (string | number)[]): string;
export class Store {
    /**
     * `now` is the gateway's clock, in Unix ms.
     * @overload
     * @param {{chatMessages?: number, now?: () => number}} [options]
     */
    constructor(options?: {
        chatMessages?: number;
        now?: () => number;
    } | undefined);
    /** @type {string | null} */
    epoch: string | null;
    seq: number;
    /** Grows with each change. */
    revision: number;
    /**
     * Update the state with the next event of the stream; return the keys of the entities that changed.
     *
     * A mailbox message that the stream has not reached is kept until then: the events before it may follow.
     * @param {Message} message
     * @returns {Set<string>}
     */
    apply(message: Message): Set<string>;
    /**
     * Move the position to that of `resumed`, when all events before it have been applied.
     * @param {number} seq
     * @returns {Set<string>}
     */
    advance(seq: number): Set<string>;
    /**
     * Keep a figure unless a newer one is known; return its key.
     * @param {Message} message
     * @returns {string | null}
     */
    figure(message: Message): string | null;
    /**
     * Replace the state by a snapshot; return the keys of the entities and figures that differ.
     * @param {Snapshot} snapshot
     * @returns {Set<string>}
     */
    load({ epoch, seq, events, figures }: Snapshot): Set<string>;
    /**
     * Return the state as a snapshot, from which `load` makes the same state.
     * @returns {Required<Snapshot>}
     */
    dump(): Required<Snapshot>;
    /**
     * The messages in the slots of an entity, by the slot's name; those for the user alone have its id behind a NUL.
     * @param {string} kind
     * @param {...(string | number)} id
     * @returns {Record<string, import("../types/events.js").EventMessage>}
     */
    slots(kind: string, ...id: (string | number)[]): Record<string, import("../types/events.js").EventMessage>;
    /**
     * The payloads of the live figures of a type; with a key, of this queue or agent only.
     * @template {import("../types/events.js").FigureType} T
     * @param {T} type
     * @param {string} [key]
     * @returns {import("../types/events.js").Events[T][]}
     */
    figures<T extends import("../types/events.js").FigureType>(type: T, key?: string): import("../types/events.js").Events[T][];
    /** @param {string | number} id */
    agent(id: string | number): import("./views.js").Agent | undefined;
    agents(): readonly import("./views.js").Agent[];
    /** @param {string | number} name */
    queue(name: string | number): import("./views.js").Queue | undefined;
    queues(): readonly import("./views.js").Queue[];
    /** @param {string | number} id */
    call(id: string | number): import("./views.js").Call | undefined;
    calls(): readonly import("./views.js").Call[];
    /** @param {string | number} id */
    chat(id: string | number): import("./views.js").Chat | undefined;
    chats(): readonly import("./views.js").Chat[];
    alerts(): readonly import("./views.js").Alert[];
    sources(): readonly import("./views.js").Source[];
    /** @param {string | number} id a user who is online */
    presence(id: string | number): import("./views.js").Presence | undefined;
    #private;
}
export type Effect = import("./slots.js").Effect;
export type Message = import("./types.js").Message;
export type Viewer = {
    user_id: string;
    policy?: {
        agent_calls: string;
        agent_chats: string;
    };
};
export type Snapshot = {
    epoch: string | null;
    seq: number;
    events: Message[];
    figures?: Message[];
};
/**
 * What the events of one agent, call, chat, … have left: the last message of each slot.
 */
export type Entity = {
    key: string;
    kind: string;
    id: string[];
    slots: Map<string, Message>;
    messages: Message[];
    at: number;
};
