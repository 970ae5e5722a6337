"""What ran while servers were being ended, and what their ends explain of it.

The ledger is a file for each kind of server, outside Redis, that its handlers append to: `start`, `end` or
`fail`, jid, pid. Ruby adds `take` when it has popped a job: from then on only that process knows of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

CONCURRENCY = 3  # of each process, Ruby's and ours


@dataclass
class Deaths:
    """Whom a test has ended, and how."""

    held: dict[int, set[str]] = field(default_factory=dict)  # ours, SIGKILL: the jids claimed at that moment
    orphaned: set[int] = field(default_factory=set)  # ours whose supervisor was killed: they stop in order
    stopped: set[int] = field(default_factory=set)  # Ruby's, TERM
    lost: set[int] = field(default_factory=set)  # Ruby's, SIGKILL: what they had taken is in no Redis
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def all(self) -> set[int]:
        return set(self.held) | self.orphaned | self.stopped | self.lost

    def times_held(self, jid: str) -> int:
        """How many of our processes were killed while the job was claimed by them."""
        return sum(jid in held for held in self.held.values())


@dataclass
class Run:
    """One execution of a job."""

    pid: int
    outcome: str = ""  # "end", "fail", or nothing: it broke off


@dataclass
class Ledger:
    """The files by kind of server, and the judgement over them."""

    files: dict[str, Path]
    deaths: Deaths

    def lines(self, kind: str) -> list[tuple[str, str, int]]:
        file = self.files[kind]
        words = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(word, jid, int(pid)) for word, jid, pid in words]

    def shares(self) -> dict[str, int]:
        """How many jobs each kind of server has ended."""
        return {kind: sum(word == "end" for word, *_ in self.lines(kind)) for kind in self.files}

    def runs(self) -> dict[str, list[Run]]:
        """Each job's executions; between two kinds of servers their order is not known."""
        runs: defaultdict[str, list[Run]] = defaultdict(list)
        for kind in self.files:
            running: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
            for word, jid, pid in self.lines(kind):
                if word == "start":
                    running[jid, pid].append(Run(pid))
                    runs[jid].append(running[jid, pid][-1])
                elif word != "take":
                    running[jid, pid].pop().outcome = word
        return runs

    def ended(self) -> set[str]:
        return {jid for jid, runs in self.runs().items() if any(run.outcome == "end" for run in runs)}

    def in_rubys_hands(self) -> set[str]:
        """What Ruby's processes had taken and not ended when they were killed by SIGKILL."""
        taken: set[tuple[str, int]] = set()
        for kind in self.files.keys() - {"python"}:
            for word, jid, pid in self.lines(kind):
                taken.discard((jid, pid)) if word == "end" else taken.add((jid, pid))
        return {jid for jid, pid in taken if pid in self.deaths.lost}

    def doubles(self) -> set[str]:
        """The jobs that began more often than once, and once more for each failure."""
        return {
            jid
            for jid, runs in self.runs().items()
            if len(runs) > 1 + sum(run.outcome == "fail" for run in runs)
        }

    def unexplained(self) -> dict[str, list[Run]]:
        """The jobs that ran twice, or broke off, without a death that may have done it."""
        last_words = self._last_words()
        return {jid: runs for jid, runs in self.runs().items() if not self._explains(jid, runs, last_words)}

    def _explains(self, jid: str, runs: list[Run], last_words: set[tuple[str, int]]) -> bool:
        outcomes = Counter(run.outcome for run in runs)
        came_back = [
            run
            for run in runs
            if run.outcome and (jid in self.deaths.held.get(run.pid, ()) or (jid, run.pid) in last_words)
        ]
        return (
            outcomes["end"] <= 1 + len(came_back)
            and outcomes["fail"] <= 1
            and all(run.pid in self.deaths.all for run in runs if not run.outcome)
        )

    def _last_words(self) -> set[tuple[str, int]]:
        """What the processes that stopped in order did last: it may have been pushed back at that moment."""
        by_pid: defaultdict[int, list[str]] = defaultdict(list)
        for kind in self.files:
            for word, jid, pid in self.lines(kind):
                if word in ("end", "fail") and pid in self.deaths.stopped | self.deaths.orphaned:
                    by_pid[pid].append(jid)
        return {(jid, pid) for pid, jids in by_pid.items() for jid in jids[-CONCURRENCY:]}
