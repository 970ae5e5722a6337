"""What an error reply of Redis means for us: later, never, or no permission."""

from __future__ import annotations

import re
from typing import Final

import redis.exceptions as redis_py

from sidekiq_py.errors import RedisAuthError, RedisDown, RedisError
from sidekiq_py.redis_connection.url import Address

# Redis is there but can't serve this now; another moment or another server may.
DOWN: Final = frozenset(
    {"LOADING", "READONLY", "MASTERDOWN", "BUSY", "OOM", "MISCONF", "NOREPLICAS", "UNBLOCKED"}
    | {"CLUSTERDOWN", "TRYAGAIN"}
)
AUTH: Final = frozenset({"NOAUTH", "WRONGPASS", "NOPERM"})
CLUSTER: Final = frozenset({"MOVED", "ASK", "CROSSSLOT"})

# redis-py cuts the prefix off the errors it has a class for. Subclasses stand before their bases.
PREFIX_OF_CLASS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (redis_py.BusyLoadingError, "LOADING"),
    (redis_py.AuthenticationError, "WRONGPASS"),
    (redis_py.NoPermissionError, "NOPERM"),
    (redis_py.NoScriptError, "NOSCRIPT"),
    (redis_py.OutOfMemoryError, "OOM"),
    (redis_py.ReadOnlyError, "READONLY"),
    (redis_py.MasterDownError, "MASTERDOWN"),
    (redis_py.ClusterDownError, "CLUSTERDOWN"),
    (redis_py.TryAgainError, "TRYAGAIN"),
    (redis_py.ClusterCrossSlotError, "CROSSSLOT"),
    (redis_py.MovedError, "MOVED"),
    (redis_py.AskError, "ASK"),
)
# Redis 6 wraps the error of a command inside a script: "… @user_script: 1: -OOM command not allowed …"
INSIDE_SCRIPT: Final = re.compile(r"@user_script: ?\d+: -?([A-Z]+) ")
REFUSED_IN_SCRIPT: Final = re.compile(r"The user executing the script can't|ACL failure in script")
NO_MORE_CLIENTS: Final = "max number of clients reached"
NO_PASSWORD_SET: Final = "without any password configured"
NO_SUCH_DATABASE: Final = "DB index is out of range"


def is_unknown_script(reply: object) -> bool:
    """The server has forgotten the script (restart, failover, SCRIPT FLUSH): it has to be sent whole."""
    return isinstance(reply, redis_py.NoScriptError)


def explain(error: Exception, address: Address, *, sent: bool) -> RedisError | RedisDown | RedisAuthError:
    """Our exception for one of redis-py's, without passwords. `sent` counts only when the link is broken."""
    if isinstance(error, (RedisError, RedisDown, RedisAuthError)):
        return error
    text = address.hide_secrets(str(error))
    if _is_broken_link(error):
        return RedisDown(f"{'lost' if sent else 'cannot reach'} Redis at {address}: {text}", sent=sent)
    return _classified(*_prefix_and_text(error, text), address)


def _classified(prefix: str, text: str, address: Address) -> RedisError | RedisDown | RedisAuthError:
    if prefix in DOWN or NO_MORE_CLIENTS in text:
        return RedisDown(text)
    if prefix in AUTH or NO_PASSWORD_SET in text:
        return RedisAuthError(f"{_sentence(text)} {_advice(prefix, text, address)}")
    if prefix in CLUSTER:
        return RedisError(
            f"{text} (Redis Cluster is not supported: queues need one server that holds all keys)"
        )
    if NO_SUCH_DATABASE in text:
        return RedisError(
            f"{_sentence(text)} Redis at {address} has no database {address.db}: give a lower number at the "
            "end of the URL, or raise `databases` in redis.conf"
        )
    return RedisError(text)


def _advice(prefix: str, text: str, address: Address) -> str:
    """What to do about a refusal of user, password or command."""
    who = address.user
    if prefix == "NOPERM":
        return f"Redis at {address} lets {who} do less than Sidekiq needs: allow it with ACL SETUSER"
    if NO_PASSWORD_SET in text:
        return f"Redis at {address} has no password: take it out of the URL"
    if prefix == "NOAUTH":
        return f"Redis at {address} wants a password: put it into the URL, as in redis://:PASSWORD@…"
    return (
        f"Redis at {address} doesn't take this password of {who}: check both, and write "
        "@ : / ? # in them as %40 %3A %2F %3F %23 in a URL"
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _is_broken_link(error: Exception) -> bool:
    """An error of the line, not a reply. Some replies are ConnectionErrors in redis-py's eyes."""
    if type(error) is redis_py.ConnectionError:
        return NO_MORE_CLIENTS not in str(error)
    return isinstance(error, (redis_py.TimeoutError, redis_py.InvalidResponse, OSError, UnicodeError))


def _prefix_and_text(error: Exception, text: str) -> tuple[str, str]:
    for kind, prefix in PREFIX_OF_CLASS:
        if isinstance(error, kind):
            known = getattr(error, "status_code", None) or prefix
            return known, text if text.startswith(known) else f"{known} {text}"
    if REFUSED_IN_SCRIPT.search(text):
        return "NOPERM", f"NOPERM {text}"
    inner = INSIDE_SCRIPT.search(text)
    return inner.group(1) if inner else text.partition(" ")[0], text
