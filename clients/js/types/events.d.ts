// Generated from the gateway's code by clients/js/generate.py. Do not edit.

export interface AgentLogin {
  user_id: string | number;
  username: string;
  extension?: string | number | null;
  interface?: string | null;
  queues?: (string | number)[] | null;
  state?: "available" | "away" | "break" | "busy" | "hold" | "offline" | "ringing" | "talking" | "wrap_up" | null;
  [name: string]: unknown;
}

export interface AgentStateChanged {
  user_id: string | number;
  username: string;
  state: "available" | "away" | "break" | "busy" | "hold" | "offline" | "ringing" | "talking" | "wrap_up";
  previous_state?: "available" | "away" | "break" | "busy" | "hold" | "offline" | "ringing" | "talking" | "wrap_up" | null;
  reason?: string | null;
  since_at?: string | null;
  extension?: string | number | null;
  [name: string]: unknown;
}

export interface AgentLogout {
  user_id: string | number;
  username: string;
  reason?: "connection_lost" | "revoked" | "supervisor" | "user" | null;
  [name: string]: unknown;
}

export interface CallIncoming {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id: string | number;
  caller_name?: string | null;
  destination: string | number;
  queue_name?: string | number | null;
  agent_id?: string | number | null;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  [name: string]: unknown;
}

export interface CallRinging {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id?: string | number | null;
  caller_name?: string | null;
  destination?: string | number | null;
  queue_name?: string | number | null;
  agent_id: string | number;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  [name: string]: unknown;
}

export interface CallAnswered {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id?: string | number | null;
  caller_name?: string | null;
  destination?: string | number | null;
  queue_name?: string | number | null;
  agent_id: string | number;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  wait_seconds?: number | null;
  ring_seconds?: number | null;
  [name: string]: unknown;
}

export interface CallHold {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id?: string | number | null;
  caller_name?: string | null;
  destination?: string | number | null;
  queue_name?: string | number | null;
  agent_id?: string | number | null;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  held_by?: string | number | null;
  [name: string]: unknown;
}

export interface CallTransferred {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id?: string | number | null;
  caller_name?: string | null;
  destination: string | number;
  queue_name?: string | number | null;
  agent_id?: string | number | null;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  transfer_type?: "attended" | "blind" | null;
  from_agent_id?: string | number | null;
  to_agent_id?: string | number | null;
  [name: string]: unknown;
}

export interface CallMissed {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id?: string | number | null;
  caller_name?: string | null;
  destination?: string | number | null;
  queue_name?: string | number | null;
  agent_id?: string | number | null;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  ring_seconds?: number | null;
  [name: string]: unknown;
}

export interface CallAbandoned {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id?: string | number | null;
  caller_name?: string | null;
  destination?: string | number | null;
  queue_name: string | number;
  agent_id?: string | number | null;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  wait_seconds?: number | null;
  position?: number | null;
  [name: string]: unknown;
}

export interface CallEnded {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id?: string | number | null;
  caller_name?: string | null;
  destination?: string | number | null;
  queue_name?: string | number | null;
  agent_id?: string | number | null;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  duration: number;
  ended_by?: string | null;
  hangup_cause?: string | number | null;
  talk_seconds?: number | null;
  hold_seconds?: number | null;
  wait_seconds?: number | null;
  [name: string]: unknown;
}

export interface CallDisposition {
  call_id: string | number;
  code: string;
  label?: string | null;
  note?: string | null;
  unique_id?: string | number | null;
  queue_name?: string | number | null;
  agent_id?: string | number | null;
  [name: string]: unknown;
}

export interface QueueJoined {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id?: string | number | null;
  caller_name?: string | null;
  destination?: string | number | null;
  queue_name: string | number;
  agent_id?: string | number | null;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  position?: number | null;
  calls_waiting?: number | null;
  [name: string]: unknown;
}

export interface QueueLeft {
  unique_id: string | number;
  call_id?: string | number | null;
  direction?: "inbound" | "internal" | "outbound" | null;
  caller_id?: string | number | null;
  caller_name?: string | null;
  destination?: string | number | null;
  queue_name: string | number;
  agent_id?: string | number | null;
  agent_name?: string | null;
  channel?: string | null;
  destination_channel?: string | null;
  started_at?: string | null;
  answered_at?: string | null;
  variables?: { [name: string]: unknown } | null;
  reason?: "abandoned" | "answered" | "empty" | "key" | "other" | "timeout" | "transferred" | "unknown" | "withdrawn" | null;
  wait_seconds?: number | null;
  [name: string]: unknown;
}

export interface QueueFigures {
  source?: "gateway" | null;
  epoch?: string | null;
  as_of_seq?: number | null;
  generated_at?: string | null;
  day?: string | null;
  time_zone?: string | null;
  today?: { [name: string]: unknown } | null;
  interval?: { [name: string]: unknown } | null;
  incomplete_since?: string | null;
  queue_name: string | number;
  calls_waiting: number;
  available_agents: number;
  logged_in_agents: number;
  talking_agents?: number | null;
  longest_wait_time?: number | null;
  average_wait_time?: number | null;
  completed_calls?: number | null;
  abandoned_calls?: number | null;
  longest_wait_since?: string | null;
  interacting_calls?: number | null;
  staffed_agents?: number | null;
  paused_agents?: number | null;
  non_productive_agents?: number | null;
  agents?: { [name: string]: unknown } | null;
  service_level?: number | null;
  service_level_method?: string | null;
  service_level_seconds?: number | null;
  service_level_target?: number | null;
  short_abandon_seconds?: number | null;
  last_30m?: { [name: string]: unknown } | null;
  [name: string]: unknown;
}

export interface AgentStats {
  source?: "gateway" | null;
  epoch?: string | null;
  as_of_seq?: number | null;
  generated_at?: string | null;
  day?: string | null;
  time_zone?: string | null;
  today?: { [name: string]: unknown } | null;
  interval?: { [name: string]: unknown } | null;
  incomplete_since?: string | null;
  user_id: string | number;
  username?: string | null;
  queues?: (string | number)[] | null;
  state?: "available" | "away" | "break" | "busy" | "hold" | "offline" | "ringing" | "talking" | "wrap_up" | null;
  reason?: string | null;
  since?: string | null;
  seconds_in_state?: number | null;
  [name: string]: unknown;
}

export interface TenantStats {
  source?: "gateway" | null;
  epoch?: string | null;
  as_of_seq?: number | null;
  generated_at?: string | null;
  day?: string | null;
  time_zone?: string | null;
  today?: { [name: string]: unknown } | null;
  interval?: { [name: string]: unknown } | null;
  incomplete_since?: string | null;
  [name: string]: unknown;
}

export interface QueueMemberChanged {
  queue_name: string | number;
  user_id: string | number;
  username?: string | null;
  interface?: string | null;
  paused?: boolean | null;
  penalty?: number | null;
  reason?: string | null;
  [name: string]: unknown;
}

export interface QueueMemberRemoved {
  queue_name: string | number;
  user_id: string | number;
  username?: string | null;
  interface?: string | null;
  paused?: boolean | null;
  penalty?: number | null;
  reason?: string | null;
  [name: string]: unknown;
}

export interface ChatSessionStarted {
  session_id: string | number;
  visitor_name?: string | null;
  visitor_email?: string | null;
  queue_name?: string | number | null;
  agent_id?: string | number | null;
  agent_name?: string | null;
  status?: string | null;
  [name: string]: unknown;
}

export interface ChatMessage {
  session_id: string | number;
  message_id: string | number;
  sender_id: string | number;
  sender_type: "agent" | "bot" | "system" | "visitor";
  body: string;
  sender_name?: string | null;
  private?: boolean | null;
  client_message_id?: string | number | null;
  [name: string]: unknown;
}

export interface ChatTyping {
  session_id: string | number;
  sender_type: "agent" | "bot" | "system" | "visitor";
  is_typing: boolean;
  sender_name?: string | null;
  sender_id?: string | number | null;
  [name: string]: unknown;
}

export interface ChatDelivered {
  session_id: string | number;
  message_id: string | number;
  [name: string]: unknown;
}

export interface ChatTransferred {
  session_id: string | number;
  to_agent_id: string | number;
  from_agent_id?: string | number | null;
  agent_name?: string | null;
  [name: string]: unknown;
}

export interface ChatSessionEnded {
  session_id: string | number;
  reason?: string | null;
  ended_by?: string | null;
  [name: string]: unknown;
}

export interface Notification {
  type: string;
  title: string;
  message: string;
  data?: unknown;
  severity?: string | null;
  expires_at?: string | null;
  [name: string]: unknown;
}

export interface Alert {
  title: string;
  message: string;
  severity?: string | null;
  [name: string]: unknown;
}

export interface SourceUp {
  source: string | number;
  kind?: string | null;
  reason?: string | null;
  since?: string | null;
  version?: string | null;
  commands?: (string)[] | null;
  [name: string]: unknown;
}

export interface SourceDown {
  source: string | number;
  kind?: string | null;
  reason?: string | null;
  since?: string | null;
  version?: string | null;
  [name: string]: unknown;
}

export interface PresenceChanged {
  user_id: string | number;
  online: boolean;
  connections?: number | null;
  reason?: string | null;
  [name: string]: unknown;
}

export interface QueueAlertRaised {
  alert_id: string | number;
  rule: string | number;
  queue_name?: string | number | null;
  source?: string | number | null;
  metric?: string | null;
  window?: string | null;
  value?: number | null;
  threshold?: number | null;
  severity?: string | null;
  since: string;
  repeat?: number | null;
  reason?: string | null;
  by?: string | number | null;
  note?: string | null;
  [name: string]: unknown;
}

export interface QueueAlertCleared {
  alert_id: string | number;
  rule: string | number;
  queue_name?: string | number | null;
  source?: string | number | null;
  metric?: string | null;
  window?: string | null;
  value?: number | null;
  threshold?: number | null;
  severity?: string | null;
  since: string;
  repeat?: number | null;
  reason?: string | null;
  by?: string | number | null;
  note?: string | null;
  [name: string]: unknown;
}

export interface CommandDone {
  command_id: string | number;
  name: string;
  source?: string | number | null;
  data?: unknown;
  message?: string | null;
  [name: string]: unknown;
}

export interface CommandFailed {
  command_id: string | number;
  name: string;
  source?: string | number | null;
  data?: unknown;
  message?: string | null;
  code: string;
  [name: string]: unknown;
}

export interface CommandExecuted {
  command_id: string | number;
  name: string;
  user_id: string | number;
  role: string;
  source?: string | number | null;
  queue_name?: string | number | null;
  call_id?: string | number | null;
  session_id?: string | number | null;
  subject_user_id?: string | number | null;
  outcome: "done" | "failed";
  code?: string | null;
  duration: number;
  [name: string]: unknown;
}

export interface StatisticsSettingsChanged {
  time_zone: string;
  service_level_seconds: number;
  service_level_target: number;
  short_abandon_seconds: number;
  service_level_method: string;
  queues?: { [name: string]: unknown } | null;
  [name: string]: unknown;
}

export interface Events {
  "agent.login": AgentLogin;
  "agent.state.changed": AgentStateChanged;
  "agent.logout": AgentLogout;
  "call.incoming": CallIncoming;
  "call.ringing": CallRinging;
  "call.answered": CallAnswered;
  "call.hold": CallHold;
  "call.unhold": CallHold;
  "call.transferred": CallTransferred;
  "call.missed": CallMissed;
  "call.abandoned": CallAbandoned;
  "call.ended": CallEnded;
  "call.disposition": CallDisposition;
  "queue.joined": QueueJoined;
  "queue.left": QueueLeft;
  "queue.stats": QueueFigures;
  "agent.stats": AgentStats;
  "tenant.stats": TenantStats;
  "queue.member.added": QueueMemberChanged;
  "queue.member.paused": QueueMemberChanged;
  "queue.member.unpaused": QueueMemberChanged;
  "queue.member.removed": QueueMemberRemoved;
  "chat.session.started": ChatSessionStarted;
  "chat.message": ChatMessage;
  "chat.typing": ChatTyping;
  "chat.delivered": ChatDelivered;
  "chat.transferred": ChatTransferred;
  "chat.session.ended": ChatSessionEnded;
  "notification": Notification;
  "alert": Alert;
  "source.up": SourceUp;
  "source.down": SourceDown;
  "presence.changed": PresenceChanged;
  "queue.alert.raised": QueueAlertRaised;
  "queue.alert.acknowledged": QueueAlertRaised;
  "queue.alert.cleared": QueueAlertCleared;
  "command.done": CommandDone;
  "command.failed": CommandFailed;
  "command.executed": CommandExecuted;
  "statistics.settings.changed": StatisticsSettingsChanged;
}

/** Types whose live figures, in tenants with statistics, have neither `id` nor `seq`. */
export type FigureType = "queue.stats" | "agent.stats" | "tenant.stats";

export type Message<T extends keyof Events = keyof Events> = {
  [K in T]: {
    type: K;
    tenant_id: string;
    timestamp: string;
    user_id?: string;
    offline?: true;
    redelivered?: true;
    payload: Events[K];
  } & (K extends FigureType ? { id?: string; seq?: number } : { id: string; seq: number });
}[T];

/** What `on("event", …)` tells. Messages for the user have `acknowledge`, if the page acknowledges them itself. */
export type EventMessage<T extends keyof Events = keyof Events> = Message<T> & {
  id: string;
  seq: number;
  acknowledge?: () => void;
};
