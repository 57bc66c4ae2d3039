/**
 * A message of the gateway. Figures and control messages have neither `id` nor `seq`.
 */
export type Message = {
    type: string;
    tenant_id?: string;
    id?: string;
    seq?: number;
    timestamp: string;
    user_id?: string;
    offline?: boolean;
    redelivered?: boolean;
    in_reply_to?: any;
    payload: any;
};
/**
 * a message of the stream, as a page sees it
 */
export type EventMessage = import("../types/events.js").EventMessage;
export type Position = {
    epoch: string;
    seq: number;
};
/**
 * `text` is for a person
 */
export type Reason = {
    code: number | string;
    name: string;
    text: string;
};
export type Rebuilt = {
    reason: "start" | "reset" | "gap" | "refresh" | "taken_over";
    detail?: string;
};
export type TokenReason = "connect" | "expiring" | "retry";
/**
 * the silence after
 * which to ask, and how long an answer may take
 */
export type HeartbeatLimits = {
    idleMs: number;
    answerMs: number;
};
/**
 * Times are those of the gateway's clock, in Unix milliseconds.
 */
export type LinkStatus = {
    state: "connecting" | "catching_up" | "live" | "stale" | "offline" | "stopped";
    since: number;
    offline_since: number | null;
    retry_at: number | null;
    attempt: number;
    reason: Reason | null;
};
export type Status = LinkStatus & {
    as_of: number | null;
    leads: boolean;
    shared: number;
};
export type Identity = {
    user_id: string;
    tenant_id: string;
    role: string;
    session_id?: string;
    name?: string;
    queues: string[] | null;
    extension: string | null;
    policy?: {
        agent_calls: string;
        agent_chats: string;
    };
    token_expires_at: string | null;
    commands?: {
        names: string[];
        pause_reasons: string[];
        dispositions: {
            code: string;
            label: string;
        }[];
        destinations?: {
            name: string;
            destination: string;
            queue_name: string | null;
        }[];
    };
};
export type LinkOptions = {
    url: string;
    tenant?: string;
    events?: string[];
    queues?: string[];
    acknowledge: "auto" | "manual" | false;
    heartbeat: HeartbeatLimits;
};
/**
 * What a connection uses of the client.
 */
export type Host = {
    receive: (message: Message) => void;
    status: (status: LinkStatus) => void;
    serverTime: () => number;
    token: (reason: TokenReason) => Promise<string | null>;
    position: () => Position | null;
    clock: (serverTime: string, rtt: number | null) => void;
    log: (level: string, text: string, fields?: object) => void;
};
export type TokenRequest = {
    reason: TokenReason;
    signal: AbortSignal;
};
export type Options = {
    /**
     * returns a fresh token; throws `TokenRefused` if the
     * user is signed out
     */
    token?: ((request: TokenRequest) => string | Promise<string>) | undefined;
    /**
     * event types and prefixes like `call.*`; all
     */
    events?: string[] | undefined;
    /**
     * all
     */
    queues?: string[] | undefined;
    tenant?: string | undefined;
    /**
     * how messages for the user are acknowledged; "auto"
     */
    acknowledge?: false | "auto" | "manual" | undefined;
    /**
     * whether tabs share a socket; true
     */
    tabs?: boolean | undefined;
    /**
     * connect without a token, as the visitor of a site
     */
    anonymous?: boolean | undefined;
    /**
     * after how much silence a ping is sent; how long its answer may take
     */
    heartbeat?: HeartbeatLimits | undefined;
    /**
     * messages that are kept of each chat; 200
     */
    chatMessages?: number | undefined;
    log?: ((level: string, text: string, fields?: object) => void) | undefined;
};
/**
 * What `on` reports, by name.
 */
export type Names = {
    status: Status;
    event: EventMessage;
    rebuilt: Rebuilt;
    lost: {
        from_seq: number;
        to_seq: number;
        reason: string;
    };
    change: {
        kinds: Set<string>;
        keys: Set<string>;
    };
    refused: {
        code: string;
        message: string;
        retry_after_ms?: number;
    };
    session: {
        session_id: string;
        session_token: string;
    };
};
/**
 * what a tab needs to go on where another one is
 */
export type State = {
    position: Position | null;
    dump: any;
    identity: any;
};
/**
 * `leader`: another tab leads than before, so what was sent may be lost.
 */
export type TabHost = Host & {
    key: () => string;
    dump: () => State;
    load: (state: State) => void;
    leader: () => void;
    shared: (leads: boolean, tabs: number) => void;
    skew: (skew?: number) => number;
};
/**
 * What leading and following tabs use of the object that joins them.
 */
export type Tab = {
    id: string;
    host: TabHost;
    options: LinkOptions;
    env: import("./env.js").Env;
    status: LinkStatus;
    post: (type: string, content?: object) => void;
    tell: (status: LinkStatus, isSilent?: boolean) => void;
};
