"""One connection to Redis: every command is sent at most once, and no reply ever reaches the wrong caller."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import hiredis
import redis.exceptions as redis_py

from sidekiq_py.errors import RedisDown, RedisError, SidekiqError
from sidekiq_py.redis_connection.link import Link, open_link
from sidekiq_py.redis_connection.replies import explain, is_unknown_script
from sidekiq_py.scripts import ScriptCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidekiq_py.redis_connection.url import Address
    from sidekiq_py.redis_connection.verbs import Arg, Command, Reply
    from sidekiq_py.scripts import Script

PACK: Final[Callable[[tuple[Any, ...]], bytes]] = hiredis.pack_command  # its own types forget bytes
LOOK_AGAIN_AFTER: Final = 0.1  # seconds of rest after which the server may have hung up


class RedisConnection:
    """A connection for one greenlet or thread at a time. Connects at its first call, and again after errors.

    Anything that interrupts a call (an error, a kill, a timeout) drops the socket, so that the next call
    can't read an old reply. Ruby twin: a RedisClient without reconnect_attempts.
    """

    def __init__(
        self, address: Address, *, connect_timeout: float, read_timeout: float, client_name: str | None = None
    ) -> None:
        self.address = address
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._client_name = client_name
        self._link: Link | None = None
        self._pid = 0
        self._used_at = 0.0

    def call(self, *command: Arg) -> Reply:
        """One command, one reply."""
        [reply] = self._exchange(pack(command), 1)
        return self._result(reply)

    def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Many commands in one round trip, not atomic; an error reply stands in its slot as an exception."""
        if not commands:
            return []
        replies = self._exchange(pack_all(commands), len(commands))
        for slot, command in enumerate(commands):
            if is_unknown_script(replies[slot]) and isinstance(command, ScriptCall):
                replies[slot] = self._repeat_in_full(command)
        return [self._mapped(reply) if isinstance(reply, Exception) else reply for reply in replies]

    def run_script(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = ()) -> Reply:
        """EVALSHA; EVAL when the server doesn't know the script (which then has run nothing)."""
        command = script.command(keys, args)
        [reply] = self._exchange(pack(command), 1)
        return self._result(self._repeat_in_full(command) if is_unknown_script(reply) else reply)

    def disconnect(self) -> None:
        """Close the socket. The next call opens another."""
        link, self._link = self._link, None
        if link is not None:
            link.disconnect()

    def _exchange(self, packed: bytes, count: int) -> list[Reply]:
        """Send once, read `count` replies. Error replies are returned; a broken link is raised."""
        link = self._ready()
        try:
            link.send_packed_command((packed,), check_health=False)
            return [_read(link) for _ in range(count)]
        except (redis_py.RedisError, OSError) as error:
            self.disconnect()
            # `from None`: the cause says the same, and may show a password.
            raise explain(error, self.address, sent=True) from None
        except BaseException:
            self.disconnect()
            raise

    def _repeat_in_full(self, command: ScriptCall) -> Reply:
        """The only repeat there is: the server ran nothing. An error must not hide the other replies."""
        try:
            [reply] = self._exchange(pack(command.in_full()), 1)
        except SidekiqError as error:
            return error
        return reply

    def _ready(self) -> Link:
        """The open link, or a new one. Whatever fails in here fails before the command is sent."""
        now = time.monotonic()
        link = self._link
        if link is None or self._pid != os.getpid() or not self._is_fresh(link, now):
            self.disconnect()
            self._link = link = self._open()
            self._pid = os.getpid()
        self._used_at = now
        return link

    def _is_fresh(self, link: Link, now: float) -> bool:
        """False when the server has hung up, or sent what nobody asked for, while the link was at rest."""
        if now - self._used_at < LOOK_AGAIN_AFTER:
            return True
        try:
            return not link.can_read(0)
        except redis_py.RedisError:
            return False

    def _open(self) -> Link:
        try:
            return open_link(
                self.address,
                connect_timeout=self._connect_timeout,
                read_timeout=self._read_timeout,
                client_name=self._client_name,
            )
        except (redis_py.RedisError, OSError, UnicodeError) as error:
            raise explain(error, self.address, sent=False) from None

    def _result(self, reply: Reply) -> Reply:
        if isinstance(reply, Exception):
            raise self._mapped(reply)
        return reply

    def _mapped(self, reply: Exception) -> Exception:
        """Our exception for an error reply. After a RedisDown the next call may find a better server."""
        error = explain(reply, self.address, sent=True)
        if isinstance(error, RedisDown):
            self.disconnect()
        return error

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.address}{'' if self._link else ', not connected'}>"


def pack(command: Command) -> bytes:
    """The command as Redis reads it: str as UTF-8, numbers as Python prints them."""
    try:
        return PACK(tuple(command))
    except (TypeError, UnicodeError) as error:
        raise RedisError(f"can't send {command[0]!r} to Redis: {error}") from None


def pack_all(commands: Sequence[Command]) -> bytes:
    """One string for one send: a packet per command would cost more than the copy."""
    return b"".join([pack(command) for command in commands])


def _read(link: Link) -> Reply:
    try:
        return link.read_response()
    except redis_py.ResponseError as error:
        return error.with_traceback(None)
