/** @param {any} one @param {any} other @returns {boolean} */
export function isEqual(one: any, other: any): boolean;
/** @param {Store} store @returns {Map<string, Agent>} */
export function agents(store: Store): Map<string, Agent>;
/** @param {Store} store @returns {Map<string, Call>} */
export function calls(store: Store): Map<string, Call>;
/** @param {Store} store @returns {Map<string, Chat>} */
export function chats(store: Store): Map<string, Chat>;
/** @param {Store} store @returns {Map<string, Alert>} */
export function alerts(store: Store): Map<string, Alert>;
/** @param {Store} store @returns {Map<string, Source>} */
export function sources(store: Store): Map<string, Source>;
/** @param {Store} store @returns {Map<string, Presence>} */
export function presence(store: Store): Map<string, Presence>;
/** @param {Store} store @returns {Map<string, Queue>} */
export function queues(store: Store): Map<string, Queue>;
export function bySeq(one: Message, other: Message): number;
/**
 * Views of a kind, by id. An object stays the same until something in it changes, and so does the list.
 * @template T
 */
export class View<T> {
    /**
     * @param {Store} store
     * @param {string[]} kinds what the views are made of
     * @param {(store: Store) => Map<string, T>} make
     */
    constructor(store: Store, kinds: string[], make: (store: Store) => Map<string, T>);
    /** @param {string | number} id */
    get(id: string | number): T | undefined;
    list(): readonly T[];
    #private;
}
export type Store = import("./store.js").Store;
export type Entity = import("./store.js").Entity;
export type Message = import("./types.js").Message;
/**
 * `online` is null for users who are not told of presence. `figures` is the payload of `agent.stats`.
 */
export type Agent = {
    id: string;
    name: string;
    state: string;
    since: number;
    reason: string | null;
    extension: string | null;
    queues: readonly string[];
    paused_in: readonly string[];
    online: boolean | null;
    figures: import("../types/events.js").Events["agent.stats"] | null;
};
/**
 * Instants are Unix ms, rates and levels percentages, waits seconds. `calls` are those that wait. `source` says where the
 * present numbers come from: the gateway's figures, a sender's `queue.stats`, or the events of calls and members.
 */
export type Queue = {
    name: string;
    waiting: number;
    longest_wait_since: number | null;
    available: number;
    staffed: number | null;
    logged_in: number;
    paused: number | null;
    talking: number | null;
    interacting: number | null;
    service_level: {
        last_30m: number | null;
        today: number | null;
        target: number | null;
        seconds: number | null;
        method: string | null;
    };
    abandon_rate: {
        last_30m: number | null;
        today: number | null;
    };
    average_wait: {
        today: number | null;
    };
    offered_today: number | null;
    answered_today: number | null;
    abandoned_today: number | null;
    members: readonly string[];
    calls: readonly string[];
    alerts: readonly Alert[];
    source: "gateway" | "sender" | "events";
    incomplete_since: number | null;
    figures: import("../types/events.js").Events["queue.stats"] | null;
};
export type Call = {
    id: string;
    state: "incoming" | "waiting" | "ringing" | "talking" | "hold";
    queue: string | null;
    agent_id: string | null;
    agent_name: string | null;
    caller_id: string | null;
    caller_name: string | null;
    destination: string | null;
    direction: string | null;
    since: number;
    started_at: number;
};
/**
 * `delivered`: the id of the last message that the visitor's page has received.
 */
export type Chat = {
    id: string;
    state: "waiting" | "assigned";
    visitor_name: string | null;
    visitor_email: string | null;
    status: string | null;
    queue: string | null;
    agent_id: string | null;
    agent_name: string | null;
    since: number;
    delivered: string | null;
    messages: readonly import("../types/events.js").EventMessage<"chat.message">[];
};
export type Alert = {
    key: string;
    alert_id: string;
    rule: string;
    queue: string | null;
    source: string | null;
    metric: string | null;
    window: string | null;
    value: number | null;
    threshold: number | null;
    severity: string | null;
    since: number;
    acknowledged: boolean;
    by: string | null;
    note: string | null;
};
export type Source = {
    name: string;
    up: boolean;
    since: number;
    kind: string | null;
    reason: string | null;
    version: string | null;
    commands: string[] | null;
};
export type Presence = {
    user_id: string;
    online: true;
    connections: number | null;
};
