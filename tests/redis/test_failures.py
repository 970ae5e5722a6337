"""What becomes of a failed job in Redis: one place, the very fields that Ruby writes, and the hooks told."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import gevent
import pytest
import redis as redis_py

from sidekiq_py import keys
from sidekiq_py.api import DeadLimits
from sidekiq_py.claims import UnitOfWork
from sidekiq_py.clock import Clock
from sidekiq_py.component import ErrorReporter, RedisState
from sidekiq_py.dialect import Dialect
from sidekiq_py.errors import InvalidPayload, UnknownJobClass
from sidekiq_py.failures import MOST_HAND_BACKS, FailureOptions, FailureRecorder
from sidekiq_py.job_retry import Discard, Kill, Retry
from sidekiq_py.kept_jobs import KeptJobs
from sidekiq_py.payload import decode_backtrace
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from sidekiq_py.registry import Handler
from sidekiq_py.scripts import load
from sidekiq_py.settle import Settle
from tests.golden import VERSIONS, golden
from tests.helpers import StillClock, eventually, full
from tests.redis.parts import IDENTITY, NOW, Reports, Surroundings
from tests.redis.relay import relay
from tests.servers import Server

OF_A_FAILURE = ("error_message", "error_class", "failed_at", "retry_count", "retried_at", "error_backtrace")


class Harness:
    """One recorder with claimed jobs to fail."""

    def __init__(self, redis: RedisPool, raw: redis_py.Redis) -> None:
        self.redis, self.raw = redis, raw
        self.clock = StillClock(NOW)
        self.surroundings = Surroundings()
        self.reports = Reports()
        self.options: dict[str, Any] = {}

    def recorder(self, clock: Clock | None = None) -> FailureRecorder:
        report, redis_state = ErrorReporter([self.reports]), RedisState(self.clock)
        self.redis_state = redis_state
        self.kept = KeptJobs(redis=self.redis, every=10.0, redis_state=redis_state, report=report)
        return FailureRecorder(
            settle=Settle(identity=IDENTITY, redis=self.redis, redis_state=redis_state, kept=self.kept),
            options=FailureOptions(**self.options),
            clock=clock or self.clock,
            report=report,
            surroundings=self.surroundings,
        )

    def claim(self, payload: bytes, queue: str = "default") -> UnitOfWork:
        self.raw.lpush(keys.claim(IDENTITY, queue), payload)
        return UnitOfWork(queue, payload)

    def fail(
        self,
        payload: bytes | dict[str, Any],
        error: BaseException | None = None,
        *,
        queue: str = "default",
        handler: Handler | None = None,
    ):
        work = self.claim(payload if isinstance(payload, bytes) else encode(payload), queue)
        return self.recorder().failed(work, error or ValueError("boom"), handler)

    def claims(self) -> list[bytes]:
        return [job for key in self.raw.keys(f"{keys.CLAIM_PREFIX}*") for job in self.raw.lrange(key, 0, -1)]

    def only(self, key: str) -> tuple[bytes, float]:
        """The one member of a set, which is the only place that has a job."""
        assert self.claims() == []
        assert {name.decode() for name in self.raw.keys("*")} - {keys.hand_backs("j1")} == {key}
        [(member, score)] = self.raw.zrange(key, 0, -1, withscores=True)
        return member, score

    def stored(self, key: str) -> dict[str, Any]:
        return json.loads(self.only(key)[0])


@pytest.fixture
def harness(redis: RedisPool, raw: redis_py.Redis) -> Harness:
    return Harness(redis, raw)


class Unreadable:
    def __float__(self) -> float:
        raise SystemExit

    __repr__ = __float__  # type: ignore[assignment]


def encode(job: dict[str, Any]) -> bytes:
    return json.dumps(job, ensure_ascii=False, separators=(",", ":")).encode()


def job(**fields: Any) -> dict[str, Any]:
    return {
        "retry": True,
        "queue": "default",
        "class": "A",
        "args": [1],
        "jid": "j1",
        "created_at": 1.5,
        **fields,
    }


def handler(**fields: Any) -> Handler:
    return Handler("A", lambda *_: None, **fields)


def ruby_error(name: str, message: str) -> Exception:
    """One that was raised, and so has a backtrace."""
    kind = type("RubyError", (Exception,), {"ruby_class": name})
    try:
        raise kind(message)
    except kind as error:
        return error


# -- against the bytes of real Sidekiq ------------------------------------------------------------------


def sample(version: str, name: str, position: int) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(golden(version, name)[name][position]["value"])
    return job


def moment(written: float | int) -> float:
    """A time that is written as given."""
    return (written + 0.5) / 1000 if isinstance(written, int) else written


def without_backtrace(fields: dict[str, Any]) -> bytes:
    return encode({name: "" if name == "error_backtrace" else value for name, value in fields.items()})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "position", "queue"),
    [("retry", 0, "default"), ("retry", 1, "default"), ("retry", 2, "critical"), ("dead", 1, "default")],
    ids=["with backtrace", "plain", "retry_queue", "retry 0"],
)
def test_a_first_failure_is_stored_as_ruby_stores_it(harness, version, name, position, queue):
    expected = sample(version, name, position)
    pushed = {key: value for key, value in expected.items() if key not in OF_A_FAILURE}
    harness.clock.moment = moment(expected["failed_at"])

    harness.fail(
        {**pushed, "queue": queue},
        ruby_error(expected["error_class"], expected["error_message"]),
        queue=queue,
    )

    assert without_backtrace(harness.stored(name)) == without_backtrace(expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_second_failure_is_stored_as_ruby_stores_it(harness, version):
    expected = sample(version, "dead", 0)
    again = {**sample(version, "retry", 0), "enqueued_at": expected["enqueued_at"]}
    harness.clock.moment = moment(expected["retried_at"])

    harness.fail(again, ruby_error(expected["error_class"], expected["error_message"]))

    assert without_backtrace(harness.stored("dead")) == without_backtrace(expected)
    assert harness.only("dead")[1] == harness.clock.moment


# -- the fields ----------------------------------------------------------------------------------------


def test_a_job_that_fails_waits_in_the_retry_set_until_it_is_due(harness):
    outcome = harness.fail(job())

    member, score = harness.only("retry")
    assert isinstance(outcome.verdict, Retry)
    assert (score, outcome.retry_count) == (outcome.verdict.at, 0)
    assert 15 <= score - harness.clock.moment <= 24
    assert list(json.loads(member)) == [
        *("retry", "queue", "class", "args", "jid", "created_at"),
        *("error_message", "error_class", "failed_at", "retry_count"),
    ]


@pytest.mark.parametrize(
    "args",
    ["[1.50,1e400]", "[" + "9" * 4000 + "]", "[" + "9" * 5000 + "]", '["\\u00e9"]', "[" * 150 + "]" * 150],
    ids=["floats", "big", "too big", "escape", "deep"],
)
def test_arguments_survive_failure_after_failure(harness, args):
    raw = (
        b'{"class":"A","args":' + args.encode() + b',"x":{"b":1,"a":2},"jid":"j1","created_at":1.5,"bid":"b"}'
    )

    harness.fail(raw)
    first = harness.only("retry")[0]
    harness.raw.delete("retry")
    harness.fail(first)

    stored = harness.only("retry")[0]
    written = args.replace("1.50", "1.5").replace("\\u00e9", "é").encode()  # as Ruby would write it
    assert stored.startswith(
        b'{"class":"A","args":' + written + b',"x":{"b":1,"a":2},"jid":"j1","created_at":1.5,"bid":"b"'
    )
    assert b'"retry_count":1' in stored


@pytest.mark.row("E12")
def test_an_error_of_a_megabyte_is_cut_at_10000_characters(harness):
    harness.fail(job(), ValueError("é" * 1_000_000))

    assert harness.stored("retry")["error_message"] == "é" * 10_000


@pytest.mark.row("E12")
def test_text_that_utf_8_has_no_bytes_for_is_replaced(harness):
    harness.fail(job(), ValueError("half \ud800 pair"))

    assert harness.stored("retry")["error_message"] == "half \ufffd pair"


def test_a_retry_goes_to_the_queue_the_job_came_from(harness):
    harness.fail(job(queue="elsewhere"), queue="low")

    assert harness.stored("retry")["queue"] == "low"


@pytest.mark.parametrize("retry_queue", ["", None, False])
def test_a_retry_queue_that_is_none_is_not_followed(harness, retry_queue):
    harness.fail(job(retry_queue=retry_queue))

    assert harness.stored("retry")["queue"] == "default"


@pytest.mark.parametrize("retry_queue", [7, ["low"], {"a": 1}, True])
def test_a_retry_queue_that_is_no_name_can_not_make_a_job_unrunnable(harness, retry_queue):
    """Ruby's poller would take such an entry out of the set, raise, and lose it."""
    harness.fail(job(retry_queue=retry_queue))

    assert harness.stored("retry")["queue"] == "default"


@pytest.mark.parametrize(
    ("created_at", "dialect", "expected"),
    [
        (1.5, Dialect.EIGHT, 1_795_490_000.25),
        (1_795_000_000_000, Dialect.SIX, 1_795_490_000_250),
        (None, Dialect.SEVEN, 1_795_490_000.25),
        (None, Dialect.EIGHT, 1_795_490_000_250),
    ],
)
def test_times_follow_the_job_s_own_style_then_that_of_the_ruby_processes(
    harness, created_at, dialect, expected
):
    harness.surroundings.dialect = dialect

    harness.fail(job(created_at=created_at))

    failed_at = harness.stored("retry")["failed_at"]
    assert (failed_at, type(failed_at)) == (expected, type(expected))


@pytest.mark.parametrize("failed_at", [None, "soon", 1.76e90])
def test_a_retry_always_says_when_it_failed_first(harness, failed_at):
    harness.fail(job(retry_count=2, failed_at=failed_at))

    stored = harness.stored("retry")
    assert stored["failed_at"] == stored["retried_at"] == harness.clock.moment
    assert stored["retry_count"] == 3


@pytest.mark.parametrize(("wanted", "count"), [(True, None), (1, 1), (2, 2), (0, 0), (False, 0), (None, 0)])
def test_as_many_lines_of_backtrace_are_stored_as_the_job_wants(harness, wanted, count):
    def deep(level: int) -> None:
        if level == 0:
            raise ValueError("deep")
        deep(level - 1)

    with pytest.raises(ValueError, match="deep") as raised:
        deep(5)
    harness.fail(job(backtrace=wanted), raised.value)

    lines = decode_backtrace(harness.stored("retry").get("error_backtrace", ""))
    assert len(lines) == count if count is not None else len(lines) > 5
    assert all(
        line.endswith((":in 'deep'", ":in 'test_as_many_lines_of_backtrace_are_stored_as_the_job_wants'"))
        for line in lines
    )


def test_the_backtrace_cleaner_chooses_the_lines(harness):
    harness.options["backtrace_cleaner"] = lambda lines: ["mine"]

    with pytest.raises(ZeroDivisionError) as raised:
        1 / 0  # noqa: B018
    harness.fail(job(backtrace=True), raised.value)

    assert decode_backtrace(harness.stored("retry")["error_backtrace"]) == ["mine"]


@pytest.mark.parametrize("broken", [lambda lines: 1 / 0, lambda lines: [7], lambda lines: None])
def test_a_broken_backtrace_cleaner_costs_no_retry(harness, broken):
    harness.options["backtrace_cleaner"] = broken

    with pytest.raises(KeyError) as raised:
        {}["x"]
    harness.fail(job(backtrace=True), raised.value)

    assert harness.stored("retry")["retry_count"] == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"jid": 7},
        {"retry_count": "3"},
        {"retry_count": 10**300},
        {"created_at": []},
        {"queue": None},
        {"tags": "red"},
        {"at": 12},
        {"retry_for": "1h"},
        {"retry": "yes"},
        {"backtrace": "yes"},
        {"dead": "no"},
    ],
    ids=str,
)
def test_odd_fields_do_not_keep_a_job_from_its_retry(harness, fields):
    harness.fail({**job(), **fields})

    stored = harness.stored("retry")
    assert isinstance(stored["tags"], list) if "tags" in stored else True
    assert "at" not in stored


# -- which way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry", "options", "goes_to"),
    [
        (None, {"retry": 3}, "retry"),
        (None, {"retry": 0}, "dead"),
        (None, {"retry": False}, None),
        (None, {}, "retry"),
        (True, {"retry": False}, "retry"),
        (0, {"retry": 5}, "dead"),
        (False, {"retry": 5}, None),
    ],
)
def test_the_job_s_own_retry_comes_first_then_the_handler_s(harness, retry, options, goes_to):
    harness.fail(job(retry=retry), handler=handler(options=options))

    assert [key.decode() for key in harness.raw.keys("*")] == ([goes_to] if goes_to else [])


def test_a_retry_that_came_from_the_handler_is_written_into_the_job(harness):
    raw = b'{"class":"A","args":[],"queue":"default","jid":"j1","created_at":1.5}'

    harness.fail(raw, handler=handler(options={"retry": 3}))

    assert harness.only("retry")[0].startswith(raw[:-1] + b',"retry":3,"error_message"')


def test_an_exhausted_job_is_dead_from_now_on_and_death_handlers_know(harness):
    told = []
    harness.options["death_handlers"] = [lambda job, error: told.append((job["jid"], str(error)))]

    outcome = harness.fail(job(retry=1, retry_count=0, failed_at=2.5))

    assert outcome.verdict == Kill()
    assert harness.only("dead")[1] == harness.clock.moment
    assert told == [("j1", "boom")]


@pytest.mark.row("F8")
def test_a_death_handler_that_raises_keeps_the_job_from_nobody(harness):
    told = []
    harness.options["death_handlers"] = [lambda job, error: 1 / 0, lambda job, error: told.append(job["jid"])]

    harness.fail(job(retry=0))

    assert harness.stored("dead")["jid"] == "j1"
    assert told == ["j1"]
    assert harness.reports.contexts == ["a death handler failed"]


@pytest.mark.parametrize("retry", [False, 0])
def test_a_job_that_is_not_to_be_kept_leaves_nothing_but_is_told_of(harness, retry):
    told = []
    harness.options["death_handlers"] = [lambda job, error: told.append(job)]

    outcome = harness.fail(job(retry=retry, dead=False))

    assert isinstance(outcome.verdict, Discard)
    assert harness.raw.keys("*") == []
    assert [each["jid"] for each in told] == ["j1"]
    assert [("discarded_at" in each, "error_class" in each) for each in told] == [(retry is not False,) * 2]


def test_retries_exhausted_may_change_what_is_buried(harness):
    def exhausted(job: dict[str, Any], error: BaseException) -> None:
        job["note"] = str(error)

    harness.fail(job(retry=0), handler=handler(retries_exhausted=exhausted))

    assert list(harness.stored("dead").items())[-1] == ("note", "boom")


@pytest.mark.parametrize(("answer", "goes_to"), [("discard", []), (None, [b"dead"]), ("what?", [b"dead"])])
def test_retries_exhausted_may_keep_the_job_out_of_the_dead_set(harness, answer, goes_to):
    harness.fail(job(retry=0), handler=handler(retries_exhausted=lambda job, error: answer))

    assert harness.raw.keys("*") == goes_to


def test_retries_exhausted_that_raises_is_reported_and_the_job_buried(harness):
    harness.fail(job(retry=0), handler=handler(retries_exhausted=lambda job, error: 1 / 0))

    assert harness.stored("dead")["jid"] == "j1"
    assert harness.reports.contexts == ["retries_exhausted of A failed"]


def test_retries_exhausted_that_leaves_nonsense_in_the_job_buries_it_all_the_same(harness):
    def exhausted(job: dict[str, Any], error: BaseException) -> None:
        job["note"] = object()

    harness.fail(job(retry=0), handler=handler(retries_exhausted=exhausted))

    assert harness.stored("dead")["jid"] == "j1"


@pytest.mark.parametrize(
    ("answer", "goes_to"),
    [(60, "retry"), ("kill", "dead"), ("discard", None), (float("nan"), "retry"), ("soon", "retry")],
)
def test_retry_in_decides_with_count_error_and_job(harness, answer, goes_to):
    asked = []

    def retry_in(count: int, error: BaseException, job: dict[str, Any]) -> Any:
        asked.append((count, str(error), job["jid"]))
        return answer

    harness.fail(job(retry_count=4, failed_at=2.5), handler=handler(retry_in=retry_in))

    assert asked == [(5, "boom", "j1")]
    assert [key.decode() for key in harness.raw.keys("*")] == ([goes_to] if goes_to else [])


@pytest.mark.parametrize(
    "answer", ["soon", 0, float("nan"), [], Unreadable()], ids=lambda each: type(each).__name__
)
def test_retry_in_that_makes_no_sense_is_told_of(harness, caplog, answer):
    harness.fail(job(), handler=handler(retry_in=lambda *_: answer))

    assert 15 <= harness.only("retry")[1] - harness.clock.moment <= 24
    assert any("retry_in of A" in record.getMessage() for record in caplog.records)


def test_retry_in_may_say_a_timedelta(harness, caplog):
    harness.fail(job(), handler=handler(retry_in=lambda *_: timedelta(minutes=10)))

    assert 600 <= harness.only("retry")[1] - harness.clock.moment <= 609
    assert caplog.records == []


def test_retry_in_that_leaves_nonsense_in_the_job_costs_no_retry(harness):
    def retry_in(count: int, error: BaseException, job: dict[str, Any]) -> None:
        job["note"] = float("nan")

    harness.fail(job(), handler=handler(retry_in=retry_in))

    assert harness.stored("retry")["retry_count"] == 0


def test_retry_in_that_raises_is_reported_and_the_usual_delay_taken(harness):
    harness.fail(job(), handler=handler(retry_in=lambda *_: 1 / 0))

    assert 15 <= harness.only("retry")[1] - harness.clock.moment <= 24
    assert harness.reports.contexts == ["retry_in of A failed"]


# -- the dead set --------------------------------------------------------------------------------------


@pytest.mark.row("F6")
def test_the_dead_set_is_trimmed_by_count_as_ruby_trims_it_one_below_the_limit(harness):
    harness.options["dead_limits"] = DeadLimits(max_jobs=3)
    harness.raw.zadd("dead", {f"old{n}": harness.clock.moment - 10 + n for n in range(5)})

    harness.fail(job(retry=0))

    left = harness.raw.zrange("dead", 0, -1)
    assert left[0] == b"old4"
    assert [json.loads(member)["jid"] for member in left[1:]] == ["j1"]


def test_the_dead_set_is_trimmed_by_age(harness):
    half_a_year = 15_552_000
    now = harness.clock.moment
    harness.raw.zadd("dead", {"too old": now - half_a_year - 1, "old": now - half_a_year + 1})

    harness.fail(job(retry=0))

    assert harness.raw.zrange("dead", 0, 0) == [b"old"]
    assert harness.raw.zcard("dead") == 2


@pytest.mark.parametrize(
    "payload", [b"{oops", b"\xff\xfe", b"", b"\x00", b'{"class":"A","args":["\xff"]}', b"[" * 100_000]
)
def test_what_is_not_json_is_buried_byte_for_byte(harness, payload):
    told = []
    harness.options["death_handlers"] = [lambda job, error: told.append(job)]

    harness.recorder().bury_invalid(harness.claim(payload), InvalidPayload("no"))

    assert harness.only("dead") == (payload, harness.clock.moment)
    assert told == []


@pytest.mark.parametrize("payload", [b"[1]", b"null", b'{"class":null}', b'{"class":"A","args":{}}'])
def test_json_that_is_no_job_is_buried_in_a_shell_that_says_why(harness, payload):
    harness.recorder().bury_invalid(harness.claim(payload, "low"), InvalidPayload("no usable class"))

    shell = harness.stored("dead")
    assert (shell["args"], shell["queue"]) == ([payload.decode()], "low")
    assert shell["error_message"] == "no usable class"


# -- what Ruby would lose ------------------------------------------------------------------------------

DEEP = b'{"class":"A","args":' + b"[" * 150 + b"]" * 150 + b',"jid":"j1"}'


@pytest.mark.parametrize(
    "payload",
    [DEEP, b'{"class":"A","args":[1e400],"jid":"j1"}', b'{"class":"A","args":[{"a":1,"a":2}],"jid":"j1"}'],
)
def test_a_job_that_ruby_s_poller_would_lose_is_buried_while_ruby_is_here(harness, payload):
    harness.surroundings.ruby_is_here = True

    outcome = harness.fail(payload)

    assert outcome.verdict == Kill()
    assert harness.only("dead")


def test_where_no_ruby_is_the_same_job_is_retried(harness):
    assert isinstance(harness.fail(DEEP).verdict, Retry)


def test_a_spelling_that_ruby_would_write_anew_is_tidied_on_the_way(harness):
    """Ruby's "reschedule" writes a member again and moves that: of other bytes, the job would run twice."""
    harness.fail(b'{ "class": "A", "args": ["\\u00e9", 1.50], "jid": "j1", "created_at": 1.5 }')

    assert harness.only("retry")[0].startswith('{"class":"A","args":["é",1.5],"jid":"j1"'.encode())


# -- classes that nobody here knows --------------------------------------------------------------------


def test_an_unknown_class_is_retried_as_ruby_retries_a_name_error(harness):
    harness.fail(job(), UnknownJobClass("uninitialized constant A"))

    stored = harness.stored("retry")
    assert (stored["error_class"], stored["error_message"]) == ("NameError", "uninitialized constant A")


def test_an_unknown_class_can_be_sent_to_the_dead_set_at_once(harness):
    harness.options["unknown"] = "dead"

    harness.fail(job(), UnknownJobClass("A"))

    assert harness.stored("dead")["error_class"] == "NameError"


def test_an_unknown_class_can_be_handed_back_uncounted_and_as_ruby_would_spell_it(harness):
    harness.options["unknown"] = "handback"
    payload = b'{"class": "A", "args":[1.50], "jid":"j1", "tags":"t", "at":1.5}'

    outcome = harness.fail(payload, UnknownJobClass("A"))

    assert isinstance(outcome.verdict, Discard)
    stored = b'{"class":"A","args":[1.5],"jid":"j1","tags":["t"],"queue":"default"}'
    assert harness.only("schedule") == (stored, harness.clock.moment + 10)
    assert 0 < harness.raw.ttl(keys.hand_backs("j1")) <= 86_400


def test_nobody_hands_a_job_back_for_ever(harness):
    harness.options["unknown"] = "handback"
    harness.raw.set(keys.hand_backs("j1"), MOST_HAND_BACKS)

    harness.fail(job(), UnknownJobClass("A"))

    assert harness.stored("retry")["retry_count"] == 0


def test_a_hand_back_whose_answer_got_lost_is_done_and_counted_once(
    harness: Harness, redis_server: Server, tmp_path: Path
):
    harness.options["unknown"] = "handback"
    harness.raw.script_load(load("hand_back").text)
    with relay(tmp_path, Path(redis_server.socket_path)) as (wire, url):
        harness.redis = RedisPool(RedisOptions.from_url(url))
        wire.lose = "EVALSHA"
        harness.fail(job(), UnknownJobClass("A"))
        harness.redis.close()

    assert harness.stored("schedule")["jid"] == "j1"
    assert harness.raw.get(keys.hand_backs("j1")) == b"1"


def test_handing_back_is_for_unknown_classes_only(harness):
    harness.options["unknown"] = "handback"

    harness.fail(job())

    assert harness.stored("retry")["error_class"] == "ValueError"


# -- one place only ------------------------------------------------------------------------------------


def fenced(harness: Harness, payload: dict[str, Any]) -> list[Any]:
    """Fail a job whose claim somebody else has taken back; returns what death handlers heard."""
    told: list[Any] = []
    harness.options["death_handlers"] = [lambda job, error: told.append(job)]
    work = harness.claim(encode(payload))
    harness.raw.delete(keys.claim(IDENTITY, "default"))
    harness.recorder().failed(work, ValueError("boom"), None)
    return told


@pytest.mark.parametrize("retry", [True, 0, False])
def test_a_job_whose_claim_is_gone_is_neither_retried_nor_buried_nor_told_of(harness, retry):
    told = fenced(harness, job(retry=retry))

    assert harness.raw.keys("*") == []
    assert told == []


def test_invalid_bytes_whose_claim_is_gone_are_not_buried(harness):
    harness.recorder().bury_invalid(UnitOfWork("default", b"{oops"), InvalidPayload("no"))

    assert harness.raw.keys("*") == []


def test_of_two_equal_payloads_each_failure_takes_one(harness):
    harness.claim(encode(job()))

    harness.fail(job())

    assert harness.claims() == [encode(job())]
    assert harness.raw.zcard("retry") == 1


@pytest.mark.row("D13")
@pytest.mark.parametrize(("key", "retry"), [("retry", True), ("dead", 0)])
def test_a_job_whose_record_is_refused_is_recorded_as_decided_once_the_key_is_gone(
    harness: Harness, caplog, key: str, retry: object
):
    asked: list[str] = []
    told: list[Any] = []
    harness.options["death_handlers"] = [lambda job, error: told.append(job)]
    harness.raw.set(key, "x")
    work = harness.claim(encode(job(retry=retry)))

    hooks = handler(
        retry_in=lambda *_: asked.append("retry_in"), retries_exhausted=lambda *_: asked.append("exhausted")
    )
    outcome = harness.recorder().failed(work, ValueError("boom"), hooks)
    for _ in range(3):
        harness.kept.tick()
    assert harness.claims() == [work.raw]
    assert told == []
    harness.raw.delete(key)
    harness.kept.tick()

    stored = harness.stored(key)
    assert (stored["error_message"], stored["retry_count"]) == ("boom", 0)
    assert asked == ["exhausted" if key == "dead" else "retry_in"]
    assert len(told) == (1 if key == "dead" else 0)
    assert outcome.verdict == (Kill() if key == "dead" else Retry(harness.only(key)[1]))
    assert harness.kept.works() == []
    assert caplog.text.count(f"the key '{key}' is no sorted set (WRONGTYPE") == 1


def test_each_trouble_of_a_key_is_told_once(harness: Harness, caplog):
    recorder = harness.recorder()
    for _ in range(2):
        harness.raw.set("retry", "x")
        for _ in range(3):
            recorder.failed(harness.claim(encode(job())), ValueError("boom"), None)
            harness.kept.tick()
        harness.raw.delete("retry")
        harness.kept.tick()

    assert caplog.text.count("the key 'retry' is no sorted set") == 2


def test_a_refused_drop_tells_the_death_handlers_when_it_works(harness: Harness, caplog):
    told: list[Any] = []
    harness.options["death_handlers"] = [lambda job, error: told.append(job)]
    work, claim = UnitOfWork("default", encode(job(retry=False))), keys.claim(IDENTITY, "default")
    harness.raw.set(claim, "x")

    harness.recorder().failed(work, ValueError("boom"), None)
    assert told == []
    harness.raw.delete(claim)
    harness.claim(work.raw)
    harness.kept.tick()

    assert len(told) == 1
    assert harness.claims() == []
    assert f"the key '{claim}' is no list" in caplog.text


@pytest.mark.parametrize("count", [0, MOST_HAND_BACKS])
def test_a_refused_hand_back_is_handed_back_later_or_fails_when_that_was_too_often(
    harness: Harness, count: int
):
    harness.options["unknown"] = "handback"
    harness.raw.set(keys.hand_backs("j1"), count)
    harness.raw.set("schedule", "x")

    harness.fail(job(), UnknownJobClass("A"))
    harness.kept.tick()
    harness.raw.delete("schedule")
    harness.kept.tick()

    assert harness.stored("retry" if count else "schedule")["jid"] == "j1"
    assert harness.kept.works() == []


def test_a_kept_job_waits_for_an_outage_to_end_and_is_not_forgotten(harness: Harness):
    recorder = harness.recorder()
    harness.raw.set("retry", "x")
    recorder.failed(harness.claim(encode(job())), ValueError("boom"), None)
    harness.raw.delete("retry")
    harness.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        tick = gevent.spawn(harness.kept.tick)
        eventually(lambda: gevent.sleep(0) or harness.redis_state.is_down, 30)
        assert len(harness.kept.works()) == 1
    finally:
        harness.raw.execute_command("REPLICAOF", "NO", "ONE")
    tick.get(timeout=30)

    assert harness.stored("retry")["jid"] == "j1"


@pytest.mark.row("D3")
@pytest.mark.parametrize("retry", [True, 0])
def test_failures_are_recorded_when_redis_is_full(harness, retry):
    work = harness.claim(encode(job(retry=retry)))
    with full(harness.raw):
        harness.recorder().failed(work, ValueError("boom"), None)

    assert harness.stored("retry" if retry else "dead")["jid"] == "j1"


@pytest.mark.parametrize("retry", [True, 0, False])
def test_a_failure_while_redis_can_t_write_is_recorded_once_when_it_can(harness, retry):
    told: list[Any] = []
    harness.options["death_handlers"] = [lambda job, error: told.append(job)]
    work = harness.claim(encode(job(retry=retry)))
    harness.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        waiting = gevent.spawn(harness.recorder(Clock()).failed, work, ValueError("boom"), None)
        gevent.sleep(0.2)
        assert not waiting.dead
        assert harness.claims() == [work.raw]
    finally:
        harness.raw.execute_command("REPLICAOF", "NO", "ONE")
    waiting.get(timeout=30)

    assert harness.claims() == []
    assert harness.raw.zcard("retry") + harness.raw.zcard("dead") == (1 if retry is not False else 0)
    assert len(told) == (0 if retry is True else 1)


def test_a_failure_waits_for_a_connection_however_long_others_hold_them_all(
    harness: Harness, redis_options: RedisOptions
):
    harness.redis = RedisPool(redis_options, size=1, timeout=0.05)
    work = harness.claim(encode(job()))
    with ThreadPoolExecutor(1) as threads:
        with harness.redis.connection():
            recorded = threads.submit(harness.recorder().failed, work, ValueError("boom"), None)
            wait([recorded], timeout=0.5)
            assert not recorded.done()
        recorded.result(timeout=30)
    harness.redis.close()

    assert harness.stored("retry")["error_message"] == "boom"
