"""The Lua scripts that run in Redis (https://redis.io/docs/latest/develop/programmability/eval-intro/).

Redis runs each script atomically: no other command is executed in between.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """One script.

    Attributes:
        writes: whether a successful run shows that Redis accepts writes: the script always writes, and begins with a
            command that a Redis without memory refuses. Such a Redis executes removals, and all that follows them.
        sha: the SHA1 digest by which EVALSHA names it.
    """

    name: str
    source: bytes
    writes: bool
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.source, usedforsecurity=False).hexdigest())


def _script(name: str, *libraries: str, writes: bool = False) -> Script:
    """Return the script of a file, with the files of the functions that it uses in front."""
    folder = files(__package__).joinpath("lua")
    source = b"\n".join(folder.joinpath(f"{part}.lua").read_bytes() for part in (*libraries, name))
    return Script(name, source, writes)


_STREAM = ("keys", "epoch", "mailbox_losses", "stream")
_PRESENCE = (*_STREAM, "presence", "presence_event")

# A tenant's stream, state and mailboxes.
PUBLISH = _script("publish", *_STREAM, "source_marks", "commands")
RECONCILE = _script("reconcile", *_STREAM, "source_marks")
STREAM_POSITION = _script("stream_position", "keys", "epoch")
STREAM_READ = _script("stream_read")
STATE_POSITIONS = _script("state_positions", "keys", "epoch")
STATE_ENTITY = _script("state_entity", *_STREAM)
STATE_EVENTS = _script("state_events")
MAILBOX_READ = _script("mailbox_read", "keys", "mailbox_losses")
MAIL_ACK = _script("mail_ack")

# Rows of folds.
FIGURES_LEASE = _script("figures_lease", "keys")
FIGURES_STORE = _script("figures_store", "keys", "epoch", "figures_keys")
FIGURES_STAGE = _script("figures_stage", "keys", "figures_keys")
FIGURES_MOVE = _script("figures_move", "keys", "figures_keys")
FIGURES_LIVE = _script("figures_live", "keys", "figures_keys")
FIGURES_PAGE = _script("figures_page", "keys", "figures_keys")
FIGURES_END = _script("figures_end", "keys")

# Presence of users.
PRESENCE_UPDATE = _script("presence_update", *_PRESENCE)
PRESENCE_REMOVE_NODE = _script("presence_remove_node", "keys", "presence")
OFFLINE_DUE = _script("offline_due")
OFFLINE_ANNOUNCE = _script("offline_announce", *_PRESENCE)
USER_LOCATIONS = _script("user_locations")

# Nodes and control messages.
LEASE = _script("lease", writes=True)
NODE_DEAD = _script("node_dead")
CONTROL_ADD = _script("control_add")
REVOCATIONS_RESTORE = _script("revocations_restore")
REVOCATIONS_EXPIRE = _script("revocations_expire")

# Sources of events.
SOURCE_CLAIM = _script("source_claim", "keys")
SOURCE_RELEASE = _script("source_release", "keys")
SOURCE_HELLO = _script("source_hello", "source_keys")
SOURCE_RENEW = _script("source_renew", "source_keys")
SOURCE_END = _script("source_end", "source_keys")
SOURCE_FORGET = _script("source_forget", "source_keys")

# Commands.
COMMAND_ACCEPT = _script("command_accept", "keys", "commands")
COMMAND_DISPATCH = _script("command_dispatch", "keys", "commands")
COMMAND_READ = _script("command_read", "keys", "commands")
COMMAND_WAITING = _script("command_waiting", "keys", "commands")
COMMAND_OVERDUE = _script("command_overdue", "keys", "commands")
COMMAND_TENANT_REMOVE = _script("command_tenant_remove")

# Users of the pages, their sessions, and screens that wait.
ACCOUNT_SAVE_USER = _script("account_save_user", "account_keys")
ACCOUNT_REMOVE_USER = _script("account_remove_user", "account_keys")
ACCOUNT_SAVE_SESSION = _script("account_save_session", "account_keys")
ACCOUNT_END_SESSIONS = _script("account_end_sessions", "account_keys")
ACCOUNT_SAVE_PAIRING = _script("account_save_pairing", "account_keys")
ACCOUNT_APPROVE = _script("account_approve", "account_keys")
ACCOUNT_CLAIM = _script("account_claim", "account_keys")

ALL = (
    *(
        PUBLISH,
        RECONCILE,
        STREAM_POSITION,
        STREAM_READ,
        STATE_POSITIONS,
        STATE_ENTITY,
        STATE_EVENTS,
        MAILBOX_READ,
        MAIL_ACK,
    ),
    *(FIGURES_LEASE, FIGURES_STORE, FIGURES_STAGE, FIGURES_MOVE, FIGURES_LIVE, FIGURES_PAGE, FIGURES_END),
    *(PRESENCE_UPDATE, PRESENCE_REMOVE_NODE, OFFLINE_DUE, OFFLINE_ANNOUNCE, USER_LOCATIONS),
    *(SOURCE_CLAIM, SOURCE_RELEASE, SOURCE_HELLO, SOURCE_RENEW, SOURCE_END, SOURCE_FORGET),
    *(COMMAND_ACCEPT, COMMAND_DISPATCH, COMMAND_READ, COMMAND_WAITING, COMMAND_OVERDUE, COMMAND_TENANT_REMOVE),
    *(ACCOUNT_SAVE_USER, ACCOUNT_REMOVE_USER, ACCOUNT_SAVE_SESSION, ACCOUNT_END_SESSIONS),
    *(ACCOUNT_SAVE_PAIRING, ACCOUNT_APPROVE, ACCOUNT_CLAIM),
    *(LEASE, NODE_DEAD, CONTROL_ADD, REVOCATIONS_RESTORE, REVOCATIONS_EXPIRE),
)
