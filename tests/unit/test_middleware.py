"""The order of links, and what reaches them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from sidekiq_py.errors import InvalidHandler
from sidekiq_py.middleware import SERVER_LINK_TAKES, CallNext, Chain, ServerMiddleware, compose
from sidekiq_py.payload import Payload


def named(name: str, calls: list[str]) -> ServerMiddleware:
    def link(job: Payload, queue: str, call_next: CallNext) -> object:
        calls.append(f"{name} before")
        result = call_next()
        calls.append(f"{name} after")
        return result

    return link


def test_the_first_link_is_outermost_and_the_result_comes_through() -> None:
    calls: list[str] = []
    chain = Chain([named("outer", calls), named("inner", calls)])

    result = compose(chain, ({"class": "HardJob"}, "default"), lambda: calls.append("job") or "done")()

    assert result == "done"
    assert calls == ["outer before", "inner before", "job", "inner after", "outer after"]


async def asynchronous(job: Payload, queue: str, call_next: CallNext) -> object:
    return call_next()


def steps(job: Payload, queue: str, call_next: CallNext):
    yield call_next()


class Link:
    def __call__(self, job: Payload, queue: str, call_next: CallNext) -> object:
        return call_next()


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (asynchronous, "is an `async def`: calling it would run nothing"),
        (functools.partial(asynchronous), "is an `async def`"),
        (steps, "is a generator"),
        ("timing", "'timing' can't be called"),
        (None, "None can't be called"),
        (Link, "Link is a class"),
        (lambda job: None, r"\(job\) is called with \(job, queue, call_next\): too many"),
        (lambda *, job: None, "is called with"),
    ],
)
@pytest.mark.parametrize("way", ["add", "prepend"])
def test_what_would_drop_every_job_is_refused(way: str, link: Any, reason: str) -> None:
    with pytest.raises(InvalidHandler, match=f"middleware: .*{reason}"):
        getattr(Chain(takes=SERVER_LINK_TAKES), way)(link)


@pytest.mark.parametrize("link", [lambda *all: all, lambda job, queue, call_next, more=1: 1, Link(), print])
def test_any_function_that_takes_what_a_link_gets_is_fine(link: Any) -> None:
    assert list(Chain([link], takes=SERVER_LINK_TAKES)) == [link]


@pytest.mark.parametrize("answer", [lambda: asynchronous({}, "", print), lambda: steps({}, "", print)])
def test_a_link_that_returns_what_nobody_runs_is_an_error(answer: Callable[[], object]) -> None:
    def link(job: Payload, queue: str, call_next: CallNext) -> object:
        return answer()

    outer: ServerMiddleware = lambda job, queue, call_next: call_next() and None  # noqa: E731

    with pytest.raises(
        InvalidHandler, match=r"<locals>.link returned a (coroutine|generator), which nobody runs"
    ):
        compose([outer, link], ({}, "default"), lambda: None)()


def test_a_link_that_does_not_call_on_drops_the_job() -> None:
    ran: list[str] = []
    chain: Chain[ServerMiddleware] = Chain([lambda job, queue, call_next: "dropped"])

    result = compose(chain, ({}, "default"), lambda: ran.append("job"))()

    assert result == "dropped"
    assert ran == []


def test_links_get_the_job_and_its_queue() -> None:
    seen: list[object] = []
    job: Payload = {"class": "HardJob"}
    chain: Chain[ServerMiddleware] = Chain(
        [lambda job, queue, call_next: seen.append((job, queue)) or call_next()]
    )

    compose(chain, (job, "low"), lambda: None)()

    assert seen == [({"class": "HardJob"}, "low")]


def test_an_error_passes_through_links_that_do_not_catch_it() -> None:
    calls: list[str] = []

    def fail() -> object:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        compose(Chain([named("outer", calls)]), ({}, "default"), fail)()

    assert calls == ["outer before"]


def test_an_empty_chain_is_just_the_job() -> None:
    assert compose((), ({}, "default"), lambda: 42)() == 42


@pytest.mark.parametrize(
    ("change", "order"),
    [
        (lambda chain: chain.add("new"), ["a", "b", "c", "new"]),
        (lambda chain: chain.prepend("new"), ["new", "a", "b", "c"]),
        (lambda chain: chain.insert_before("b", "new"), ["a", "new", "b", "c"]),
        (lambda chain: chain.insert_after("b", "new"), ["a", "b", "new", "c"]),
        (lambda chain: chain.insert_before("absent", "new"), ["new", "a", "b", "c"]),
        (lambda chain: chain.insert_after("absent", "new"), ["a", "b", "c", "new"]),
        (lambda chain: chain.add("a"), ["b", "c", "a"]),
        (lambda chain: chain.prepend("c"), ["c", "a", "b"]),
        (lambda chain: chain.insert_before("c", "a"), ["b", "a", "c"]),
        (lambda chain: chain.insert_after("a", "c"), ["a", "c", "b"]),
        (lambda chain: chain.insert_before("b", "b"), ["a", "b", "c"]),
        (lambda chain: chain.insert_after("b", "b"), ["a", "b", "c"]),
        (lambda chain: chain.remove("b"), ["a", "c"]),
        (lambda chain: chain.remove("absent"), ["a", "b", "c"]),
        (lambda chain: chain.clear(), []),
    ],
)
def test_links_go_where_they_are_put_and_are_there_once(
    change: Callable[[Chain[ServerMiddleware]], object], order: list[str]
) -> None:
    links = {name: named(name, []) for name in ("a", "b", "c", "new", "absent")}
    chain = Chain([links["a"], links["b"], links["c"]])

    change(_ByName(chain, links))  # type: ignore[arg-type]

    assert [next(name for name, link in links.items() if link is other) for other in chain] == order


class _ByName:
    """Lets the table above speak of links by name."""

    def __init__(self, chain: Chain[ServerMiddleware], links: dict[str, ServerMiddleware]) -> None:
        self._chain = chain
        self._links = links

    def __getattr__(self, verb: str) -> Callable[..., object]:
        method = getattr(self._chain, verb)
        return lambda *names: method(*(self._links[name] for name in names))


def test_add_works_as_a_decorator() -> None:
    chain: Chain[ServerMiddleware] = Chain()

    @chain.add
    def timing(job: Payload, queue: str, call_next: CallNext) -> object:
        return call_next()

    assert chain.exists(timing)
    assert len(chain) == 1
    assert repr(chain).endswith("timing)")
