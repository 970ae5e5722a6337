"""The end of a process that has not ended in time: what ran is put back, and nobody is asked any more.

On the native thread that hears signals: it may be a handler that keeps the hub from stopping.
"""

from __future__ import annotations

import logging
import os
from typing import Final

from sidekiq_py import banner, streams
from sidekiq_py.claims import requeue_leftovers
from sidekiq_py.config import Config
from sidekiq_py.stop import exit_within
from sidekiq_py.wiring import Wiring
from sidekiq_py.worker_process import Line, News

logger = logging.getLogger("sidekiq")

LAST_WORDS: Final = 1.0  # seconds that it has for a beat under way, and for its line in the log


class LastResort:
    """Called when time is up; it does not return.

    What keeps the process may be the log, whose reader has stopped reading: that comes last, within a second.
    """

    def __init__(self, config: Config, wired: Wiring, line: Line | None) -> None:
        self._config = config
        self._wired = wired
        self._line = line
        self.is_a_crash = False  # nobody told us to end: the supervisor has to start another
        self.code: int | None = None  # to exit with, once the server has ended and only the process is left

    def __call__(self) -> None:
        code, words = self.code, "the server has ended, but the application kept its process: it is ended now"
        if code is None:
            code, words = self._end_the_server()
        exit_within(LAST_WORDS, code)
        logger.error("%s", words)
        streams.flush()
        os._exit(code)

    def _end_the_server(self) -> tuple[int, str]:
        """Without its hub; returns the exit code, and what to say."""
        if self._line is not None and not self.is_a_crash:
            self._line.tell(News(stops=True))
        held_by = self._wired.holder()
        running = len(self._wired.work_state.running)
        self._wired.work_state.give_up()
        self._wired.heartbeat.stop()
        trouble = self._put_all_back()
        code = 0 if trouble is None and not self.is_a_crash else 1
        return code, banner.last_words(held_by[1].job if held_by else None, running, trouble)

    def _put_all_back(self) -> BaseException | None:
        """And leave the Busy page; what kept us from that."""
        try:
            connection = self._config.redis.connect()
            requeue_leftovers(connection, self._wired.info.identity, self._config.all_queues)
            self._wired.heartbeat.wait_until_ended(LAST_WORDS)
            self._wired.heartbeat.sign_off(connection)
        except BaseException as error:  # whatever it is, the process ends
            return error
        return None
