"""The benchmarks' jobs for sidekiq-py; `jobs.rb` has the same ones for Ruby."""

from __future__ import annotations

import os
import time

from sidekiq_py import job

STAMPS = os.open("stamps.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)


@job("NoOp")
def no_op(number):
    """What is left is the price of the queue itself."""


@job("Sleep")
def sleep(seconds):
    time.sleep(seconds)


@job("Stamp")
def stamp(due):
    """Tell how late this job starts. One unbuffered line, in a file: Redis is what is being measured."""
    os.write(STAMPS, b"%.6f\n" % (time.time() - due))
