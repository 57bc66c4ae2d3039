/** Types that several modules use. There is no code here. */

/**
 * A message of the gateway. Figures and control messages have neither `id` nor `seq`.
 * @typedef {{type: string, tenant_id?: string, id?: string, seq?: number, timestamp: string, user_id?: string,
 *   offline?: boolean, redelivered?: boolean, in_reply_to?: any, payload: any}} Message
 */
/** @typedef {import("../types/events.js").EventMessage} EventMessage a message of the stream, as a page sees it */
/** @typedef {{epoch: string, seq: number}} Position */
/** @typedef {{code: number | string, name: string, text: string}} Reason `text` is for a person */
/** @typedef {{reason: "start" | "reset" | "gap" | "refresh" | "taken_over", detail?: string}} Rebuilt */
/** @typedef {"connect" | "expiring" | "retry"} TokenReason */
/** @typedef {{idleMs: number, answerMs: number}} HeartbeatLimits the silence after
 * which to ask, and how long an answer may take */
/**
 * Times are those of the gateway's clock, in Unix milliseconds.
 * @typedef {{state: "connecting" | "catching_up" | "live" | "stale" | "offline" | "stopped", since: number,
 *   offline_since: number | null, retry_at: number | null, attempt: number, reason: Reason | null}} LinkStatus
 */
/** @typedef {LinkStatus & {as_of: number | null, leads: boolean, shared: number}} Status */
/**
 * @typedef {{user_id: string, tenant_id: string, role: string, session_id?: string, name?: string, queues: string[] | null,
 *   extension: string | null,
 *   policy?: {agent_calls: string, agent_chats: string}, token_expires_at: string | null,
 *   commands?: {names: string[], pause_reasons: string[], dispositions: {code: string, label: string}[],
 *   destinations?: {name: string, destination: string, queue_name: string | null}[]}}} Identity
 */
/**
 * @typedef {{url: string, tenant?: string, events?: string[], queues?: string[], acknowledge: "auto" | "manual" | false,
 *   heartbeat: HeartbeatLimits}} LinkOptions
 */
/**
 * What a connection uses of the client.
 * @typedef {{receive: (message: Message) => void, status: (status: LinkStatus) => void, serverTime: () => number,
 *   token: (reason: TokenReason) => Promise<string | null>, position: () => Position | null,
 *   clock: (serverTime: string, rtt: number | null) => void,
 *   log: (level: string, text: string, fields?: object) => void}} Host
 */
/** @typedef {{reason: TokenReason, signal: AbortSignal}} TokenRequest */
/**
 * @typedef {object} Options
 * @property {(request: TokenRequest) => string | Promise<string>} [token] returns a fresh token; throws `TokenRefused` if the
 *   user is signed out
 * @property {string[]} [events] event types and prefixes like `call.*`; all
 * @property {string[]} [queues] all
 * @property {string} [tenant]
 * @property {"auto" | "manual" | false} [acknowledge] how messages for the user are acknowledged; "auto"
 * @property {boolean} [tabs] whether tabs share a socket; true
 * @property {boolean} [anonymous] connect without a token, as the visitor of a site
 * @property {HeartbeatLimits} [heartbeat] after how much silence a ping is sent; how long its answer may take
 * @property {number} [chatMessages] messages that are kept of each chat; 200
 * @property {(level: string, text: string, fields?: object) => void} [log]
 */
/**
 * What `on` reports, by name.
 * @typedef {object} Names
 * @property {Status} status
 * @property {EventMessage} event
 * @property {Rebuilt} rebuilt
 * @property {{from_seq: number, to_seq: number, reason: string}} lost
 * @property {{kinds: Set<string>, keys: Set<string>}} change
 * @property {{code: string, message: string, retry_after_ms?: number}} refused
 * @property {{session_id: string, session_token: string}} session
 */
/** @typedef {{position: Position | null, dump: any, identity: any}} State what a tab needs to go on where another one is */
/**
 * `leader`: another tab leads than before, so what was sent may be lost.
 * @typedef {Host & {key: () => string, dump: () => State, load: (state: State) => void, leader: () => void,
 *   shared: (leads: boolean, tabs: number) => void, skew: (skew?: number) => number}} TabHost
 */
/**
 * What leading and following tabs use of the object that joins them.
 * @typedef {{id: string, host: TabHost, options: LinkOptions, env: import("./env.js").Env, status: LinkStatus,
 *   post: (type: string, content?: object) => void, tell: (status: LinkStatus, isSilent?: boolean) => void}} Tab
 */

export {};
