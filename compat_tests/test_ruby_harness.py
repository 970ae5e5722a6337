"""The harness itself: real Sidekiq pushes, runs, looks at itself and renders its pages."""

from __future__ import annotations

import signal

import pytest
from redis import Redis

from compat_tests.console import RubyError
from compat_tests.ruby import Ruby
from tests.helpers import eventually

PAGES = [
    "/",
    "/busy",
    "/queues",
    "/queues/default",
    "/retries",
    "/scheduled",
    "/morgue",
    "/stats",
    "/stats/queues",
]
NEWER_PAGES = {7: ["/metrics", "/metrics/HardJob"], 8: ["/metrics", "/metrics/HardJob", "/profiles"]}


def test_each_release_is_the_generation_it_says(ruby: Ruby) -> None:
    assert ruby.version.startswith(f"{ruby.release}.")


def test_a_job_pushed_by_name_is_in_the_queue_that_ruby_lists(ruby: Ruby) -> None:
    jid = ruby.push("HardJob", 1, "two", queue="low")

    [job] = ruby.queue("low")["jobs"]
    assert (job["jid"], job["klass"], job["args"]) == (jid, "HardJob", [1, "two"])


def test_a_class_is_pushed_with_its_own_options(ruby: Ruby) -> None:
    ruby.perform_async("QueueBoom", "z")

    [job] = ruby.queue("critical")["jobs"]
    assert job["item"]["retry_queue"] == "low"
    assert job["tags"] == ["t1"]


def test_bulk_gives_one_jid_per_argument_list(ruby: Ruby) -> None:
    jids = ruby.push_bulk("HardJob", [[1], [2], [3]])

    assert [job["jid"] for job in ruby.queue()["jobs"]] == jids[::-1]


def test_a_scheduled_job_shows_its_score_and_raw_bytes(ruby: Ruby, raw: Redis) -> None:
    jid = ruby.perform_in("HardJob", 3600, "later")

    [entry] = ruby.entries("schedule")
    assert entry["jid"] == jid
    assert raw.zscore("schedule", entry["value"]) == entry["score"]


def test_a_ruby_error_arrives_with_its_class(ruby: Ruby) -> None:
    with pytest.raises(RubyError) as caught:
        ruby.call("push", {"class": "HardJob"})

    assert caught.value.ruby_class == "ArgumentError"


def test_source_can_be_evaluated_with_arguments(ruby: Ruby) -> None:
    assert ruby.eval("args.sum * 2", 1, 2) == 6


def test_a_console_that_died_is_started_again(ruby: Ruby) -> None:
    with pytest.raises(AssertionError, match="gave no answer"):
        ruby.eval("exit!")

    assert ruby.eval("1 + 1") == 2


def test_every_test_begins_with_an_empty_redis(ruby: Ruby, raw: Redis) -> None:
    assert raw.keys("*") == []
    assert ruby.stats()["enqueued"] == 0


def test_a_server_runs_what_was_pushed(ruby: Ruby) -> None:
    jid = ruby.push("HardJob", "é", {"deep": [None, 1.5]})

    ruby.server()

    assert ruby.wait_until_ran(jid)["args"] == ["é", {"deep": [None, 1.5]}]


def test_a_server_is_seen_by_the_api_and_ends_with_code_zero(ruby: Ruby) -> None:
    server = ruby.server(queues=["critical,3", "default"], tag="shop", labels=["blue"], hostname="worker-1")

    [process] = ruby.processes()
    assert (process["identity"], process["pid"]) == (server.identity, server.pid)
    assert (process["tag"], process["labels"], process["hostname"]) == ("shop", ["blue"], "worker-1")
    assert server.stop() == 0
    assert ruby.processes() == []


def test_a_failed_job_comes_back_and_is_buried(ruby: Ruby) -> None:
    jid = ruby.perform_async("BoomJob", "x")
    ruby.server()

    [entry] = eventually(lambda: ruby.entries("retry"))
    ruby.entry_action("retry", jid, "reschedule", 1.0)
    [buried] = eventually(lambda: ruby.entries("dead"), 10.0)

    assert entry["error_backtrace"] == buried["error_backtrace"]
    assert len(entry["error_backtrace"]) == 2
    assert (entry["item"]["retry_count"], buried["item"]["retry_count"]) == (0, 1)


def test_a_killed_server_is_gone_at_once(ruby: Ruby) -> None:
    server = ruby.server()

    server.kill()

    assert server.returncode == -signal.SIGKILL


def test_a_job_cut_short_by_term_is_back_on_its_queue(ruby: Ruby) -> None:
    jid = ruby.push("SlowJob", 60)
    server = ruby.server(timeout=1, concurrency=1)
    ruby.wait_until_ran(jid)

    server.stop()

    assert [job["jid"] for job in ruby.queue()["jobs"]] == [jid]


def test_the_enqueuer_pushes_jobs_for_other_languages(ruby: Ruby) -> None:
    pushed = ruby.run("enqueue.rb", "py")["jids"]

    in_queue = {job["jid"] for job in ruby.queue("py")["jobs"]}
    everywhere = in_queue | {entry["jid"] for entry in ruby.entries("schedule")}
    assert {jid for jids in pushed.values() for jid in jids} == everywhere


def test_inspect_answers_as_a_script_of_its_own(ruby: Ruby) -> None:
    ruby.push("HardJob")

    assert ruby.run("inspect.rb", "queues") == {"default": 1}


def test_all_pages_of_the_web_ui_render(ruby: Ruby) -> None:
    ruby.push("HardJob", 1)
    ruby.perform_in("HardJob", 3600)

    pages = {path: ruby.get(path).status for path in PAGES + NEWER_PAGES.get(ruby.major, [])}

    assert set(pages.values()) == {200}, pages


def test_a_button_of_the_web_ui_does_what_it_says(ruby: Ruby) -> None:
    ruby.push("HardJob", 1)

    answer = ruby.post("/queues/default", delete="Delete")

    assert answer.status in (302, 303)
    assert ruby.queue()["size"] == 0


def test_a_form_without_our_page_behind_it_is_refused(ruby: Ruby) -> None:
    ruby.push("HardJob", 1)

    answer = ruby.eval(
        """
        form = {method: "POST", params: {"delete" => "1"}, "rack.session" => {}}
        Sidekiq::Web.new.call(Rack::MockRequest.env_for("/queues/default", form)).first
        """
    )

    assert answer == 403
    assert ruby.queue()["size"] == 1


def test_two_generations_share_one_redis(rubies: dict[str, Ruby]) -> None:
    jid = rubies["8.1"].push("HardJob", "from 8.1")

    rubies["6.4"].server()

    assert rubies["7.3"].wait_until_ran(jid)["args"] == ["from 8.1"]
