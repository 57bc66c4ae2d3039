/**
 * @typedef {{store: import("./store.js").Store, requests: import("./requests.js").Requests, acks: ReturnType<typeof import("./acks.js").acksOf>,
 *   notifier: import("./notify.js").Notifier, emitter: import("./notify.js").Emitter<import("./types.js").Names>,
 *   credentials: import("./credentials.js").Credentials, options: import("./types.js").Options,
 *   env: import("./env.js").Env, now: () => number, leads: () => boolean, send: (frame: object) => boolean}} Parts
 */
export class Receiver {
    /** @param {Parts} client */
    constructor(client: Parts);
    /** @type {Identity | null} */
    identity: Identity | null;
    stream: Stream;
    /** @param {Message} message */
    receive(message: Message): void;
    /** Go on where another tab is. @param {import("./types.js").State} state */
    takeOver({ position, dump, identity }: import("./types.js").State): void;
    /** Begin with another user: nothing of the former one stays. */
    restart(): void;
    /** Ask for the state again, at times, if this client does not see all calls, and has one that is old. */
    renew(): void;
    #private;
}
export type Identity = import("./types.js").Identity;
export type EventMessage = import("./types.js").EventMessage;
export type Message = import("./types.js").Message;
export type Parts = {
    store: import("./store.js").Store;
    requests: import("./requests.js").Requests;
    acks: ReturnType<typeof import("./acks.js").acksOf>;
    notifier: import("./notify.js").Notifier;
    emitter: import("./notify.js").Emitter<import("./types.js").Names>;
    credentials: import("./credentials.js").Credentials;
    options: import("./types.js").Options;
    env: import("./env.js").Env;
    now: () => number;
    leads: () => boolean;
    send: (frame: object) => boolean;
};
import { Stream } from "./stream.js";
