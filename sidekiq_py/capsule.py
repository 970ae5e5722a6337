"""A capsule: some queues, the order to fetch them in, and how many jobs of them run at once.

Ruby twin: Sidekiq::Capsule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from sidekiq_py.errors import InvalidConfig

Mode: TypeAlias = Literal["strict", "random", "weighted"]
QueueSpec: TypeAlias = "str | Sequence[object]"  # "critical", "critical,3" or ("critical", 3)
Share: TypeAlias = tuple[str, int]

DEFAULT_QUEUE = "default"
DEFAULT_CONCURRENCY = 5


class Capsule:
    """Queues that are worked together. Editable while booting, read-only once the config is frozen.

    Give `queues` as Sidekiq takes them: `"critical"`, `"critical,3"`, `("critical", 3)` or `{"critical": 3}`.
    Reading `queues` gives the names, each once, in the order given. Ruby twin: Sidekiq::Capsule.
    """

    def __init__(
        self,
        *,
        name: str = DEFAULT_QUEUE,
        concurrency: int = DEFAULT_CONCURRENCY,
        queues: object = (DEFAULT_QUEUE,),
    ) -> None:
        self._frozen = False
        self._shares: tuple[Share, ...] = ()
        self.name = name
        self.concurrency = concurrency
        self.queues = queues

    @property
    def queues(self) -> list[str]:
        """Names of the queues, each once, in the order given."""
        return list(self.weights)

    @queues.setter
    def queues(self, specs: object) -> None:
        self._shares = tuple(parse_queues(specs))

    @property
    def weights(self) -> dict[str, int]:
        """Name to weight, 0 when none was given, the last one given; what Sidekiq announces in `info`."""
        return dict(self._shares)

    @property
    def mode(self) -> Mode:
        """`strict` when no queue has a weight, `random` when all weights are 1, else `weighted`."""
        weights = self.weights.values()
        if not any(weights):
            return "strict"
        return "random" if all(weight == 1 for weight in weights) else "weighted"

    @property
    def lots(self) -> list[str]:
        """Every queue as often as its weight says, at least once; a queue named twice counts twice."""
        return [name for name, weight in self._shares for _ in range(max(weight, 1))]

    def fetch_order(self, shuffle: Callable[[list[str]], object]) -> list[str]:
        """The queues, each once, in the order to try them now: as given when strict, else drawn by weight.

        `shuffle` works in place, as `random.shuffle` does. A queue comes first with probability weight over
        the sum of weights.
        """
        if self.mode == "strict":
            return self.queues
        lots = self.lots
        shuffle(lots)
        return list(dict.fromkeys(lots))

    def quotas(self, order: Sequence[str], jobs: int, draw: Callable[..., list[str]]) -> list[int]:
        """How many of so many jobs to take from each queue first: when strict all, else as weights draw them.

        `draw` gives a list of `k` random elements, as `random.choices` does.
        """
        if self.mode == "strict" or jobs == 1:
            return [jobs] * len(order)
        drawn = draw(self.lots, k=jobs)
        return [drawn.count(name) for name in order]

    def freeze(self) -> None:
        """Forbid any further change."""
        self._frozen = True

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "_frozen", False):
            raise AttributeError(f"capsule {self.name}: {name} can't change after launch")
        if name == "concurrency":
            _check_concurrency(value)
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Capsule) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # editable while booting

    def __repr__(self) -> str:
        return f"Capsule(name={self.name!r}, concurrency={self.concurrency}, queues={list(self._shares)})"

    def _values(self) -> tuple[object, ...]:
        return self.name, self.concurrency, self._shares

    @staticmethod
    def parse_queues(specs: object) -> dict[str, int]:
        """Name to weight, 0 when none is given, from any form that Sidekiq takes. Raises InvalidConfig."""
        return dict(parse_queues(specs))


def parse_queues(specs: object) -> list[Share]:
    """Each queue given, with its weight, in order; a queue named twice is there twice.

    Raises InvalidConfig for an empty list, an empty name, or a weight that is no whole number of 0 or more.
    """
    shares = [_parse_queue(spec) for spec in _as_specs(specs)]
    if not shares:
        raise InvalidConfig("no queue is given; name at least one, for example: default")
    return shares


def _as_specs(specs: object) -> Iterable[object]:
    if isinstance(specs, str):
        return [specs]
    if isinstance(specs, Mapping):
        return list(specs.items())
    if isinstance(specs, Iterable):
        return list(specs)
    raise InvalidConfig(f"queues must be a list such as [critical, default], got {specs!r}")


def _parse_queue(spec: object) -> Share:
    parts: Sequence[object] = [spec]
    if isinstance(spec, str):
        parts = spec.split(",")
    elif isinstance(spec, Mapping):
        parts = [part for pair in spec.items() for part in pair]
    elif isinstance(spec, Sequence):
        parts = spec
    if not parts or len(parts) > 2 or not isinstance(parts[0], str) or not parts[0].strip():
        raise InvalidConfig(
            f"a queue is written name or name,weight (critical or critical,3), got {_shown(spec)}"
        )
    name = parts[0].strip()
    return name, _parse_weight(name, parts[1]) if len(parts) > 1 else 0


def _parse_weight(name: str, given: object) -> int:
    text = "" if given is None else str(given).strip()
    if isinstance(given, bool) or not (text.isascii() and text.isdigit()):
        raise InvalidConfig(
            f"the weight of queue {name!r} must be a whole number such as 3, got {given!r} "
            f"(to name several queues, give each on its own)"
        )
    return int(text)


def _check_concurrency(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidConfig(f"concurrency must be a whole number of 1 or more, got {value!r}")


def _shown(spec: object) -> str:
    return repr(spec) if spec is not None else "nothing"
