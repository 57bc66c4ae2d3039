// Generated from the gateway's code by clients/js/generate.py. Do not edit.

/**
 * The effect of an event on the state; see `GET /schemas/slots`.
 * @typedef {{kind: string, entity: string[][], keeps?: string, drops?: string, appends?: boolean,
 *   while_true?: string, lasting?: boolean}} Effect
 */

/** @type {[string, Effect][]} */
export const EFFECTS = [
  ["agent.login agent.state.changed", {"kind": "agent", "entity": [["user_id"]], "keeps": "state"}],
  ["agent.logout", {"kind": "agent", "entity": [["user_id"]], "drops": "*"}],
  ["call.incoming", {"kind": "call", "entity": [["call_id", "unique_id"]], "keeps": "incoming"}],
  ["call.ringing", {"kind": "call", "entity": [["call_id", "unique_id"]], "keeps": "ringing"}],
  ["call.answered", {"kind": "call", "entity": [["call_id", "unique_id"]], "keeps": "answered"}],
  ["call.hold call.unhold", {"kind": "call", "entity": [["call_id", "unique_id"]], "keeps": "hold"}],
  ["call.transferred", {"kind": "call", "entity": [["call_id", "unique_id"]], "keeps": "transferred"}],
  ["call.abandoned call.ended", {"kind": "call", "entity": [["call_id", "unique_id"]], "drops": "*"}],
  ["queue.joined", {"kind": "call", "entity": [["call_id", "unique_id"]], "keeps": "joined"}],
  ["queue.left", {"kind": "call", "entity": [["call_id", "unique_id"]], "drops": "joined"}],
  ["queue.stats", {"kind": "queue", "entity": [["queue_name"]], "keeps": "stats"}],
  ["queue.member.added queue.member.paused queue.member.unpaused", {"kind": "member", "entity": [["queue_name"], ["user_id"]], "keeps": "member"}],
  ["queue.member.removed", {"kind": "member", "entity": [["queue_name"], ["user_id"]], "drops": "*"}],
  ["chat.session.started", {"kind": "chat", "entity": [["session_id"]], "keeps": "started"}],
  ["chat.message", {"kind": "chat", "entity": [["session_id"]], "appends": true}],
  ["chat.delivered", {"kind": "chat", "entity": [["session_id"]], "keeps": "delivered"}],
  ["chat.transferred", {"kind": "chat", "entity": [["session_id"]], "keeps": "transferred"}],
  ["chat.session.ended", {"kind": "chat", "entity": [["session_id"]], "drops": "*"}],
  ["source.up source.down", {"kind": "source", "entity": [["source"]], "keeps": "source"}],
  ["presence.changed", {"kind": "presence", "entity": [["user_id"]], "keeps": "online", "while_true": "online", "lasting": true}],
  ["queue.alert.raised queue.alert.acknowledged", {"kind": "alert", "entity": [["rule"], ["queue_name", "source"]], "keeps": "alert", "lasting": true}],
  ["queue.alert.cleared", {"kind": "alert", "entity": [["rule"], ["queue_name", "source"]], "drops": "*", "lasting": true}],
];

/** @type {{[type: string]: string[]}} */
export const FIGURES = {"queue.stats": ["queue_name"], "agent.stats": ["user_id"], "tenant.stats": []};

export const LIFETIME_MS = 86400000;
export const MAX_SLOTS = 50000;
export const MAX_LASTING = 50000;
