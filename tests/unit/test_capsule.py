"""Queues of a capsule: the forms they are given in, their mode, the order they are fetched in."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sidekiq_py.capsule import Capsule
from sidekiq_py.errors import InvalidConfig


def test_a_capsule_told_nothing_works_the_queue_default_with_five_jobs_at_once():
    capsule = Capsule()

    assert (capsule.name, capsule.queues, capsule.concurrency) == ("default", ["default"], 5)
    assert (capsule.mode, capsule.weights) == ("strict", {"default": 0})


@pytest.mark.parametrize(
    "given",
    [
        ["critical,3", "low"],
        [("critical", 3), "low"],
        [["critical", "3"], ["low"]],
        {"critical": 3, "low": 0},
        [{"critical": 3}, "low,0"],
        ["critical, 3", " low"],
    ],
)
def test_queues_are_taken_in_every_form_that_sidekiq_takes(given):
    capsule = Capsule(queues=given)

    assert capsule.weights == {"critical": 3, "low": 0}
    assert capsule.queues == ["critical", "low"]


def test_a_single_queue_may_be_given_without_a_list():
    assert Capsule(queues="critical").queues == ["critical"]


@pytest.mark.parametrize(
    ("queues", "mode"),
    [
        (["a", "b"], "strict"),
        (["a,0", "b"], "strict"),
        (["a,1", "b,1"], "random"),
        (["a,1", "b"], "weighted"),
        (["a,2", "b,2"], "weighted"),
        (["a,3", "b,1"], "weighted"),
    ],
)
def test_the_weights_decide_the_mode(queues, mode):
    assert Capsule(queues=queues).mode == mode


def test_a_strict_capsule_fetches_in_the_order_given_without_repeats():
    capsule = Capsule(queues=["b", "a", "b"])

    assert capsule.fetch_order(random.Random(1).shuffle) == ["b", "a"]


def test_a_random_capsule_puts_every_queue_first_equally_often():
    capsule = Capsule(queues=["a,1", "b,1"])

    first = Counter(capsule.fetch_order(random.Random(seed).shuffle)[0] for seed in range(2_000))

    assert 0.45 < first["a"] / 2_000 < 0.55


def test_a_weighted_capsule_puts_a_queue_first_as_often_as_its_weight_says():
    capsule = Capsule(queues=["a,3", "b"])  # no weight counts 1

    first = Counter(capsule.fetch_order(random.Random(seed).shuffle)[0] for seed in range(2_000))

    assert 0.70 < first["a"] / 2_000 < 0.80


def test_every_fetch_order_holds_every_queue_once():
    capsule = Capsule(queues=["a,3", "b,2", "c"])

    orders = [capsule.fetch_order(random.Random(seed).shuffle) for seed in range(50)]

    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


def test_a_queue_named_twice_counts_twice_and_announces_its_last_weight():
    capsule = Capsule(queues=["a,2", "b,1", "a,3"])

    assert capsule.lots == ["a", "a", "b", "a", "a", "a"]
    assert capsule.weights == {"a": 3, "b": 1}


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        (["a,b"], "weight of queue 'a' must be a whole number"),
        (["a,-1"], "weight of queue 'a'"),
        (["a,1.5"], "weight of queue 'a'"),
        ([["a", True]], "weight of queue 'a'"),
        (["a,1,2"], "name or name,weight"),
        ([""], "name or name,weight"),
        ([None], "name or name,weight"),
        ([7], "name or name,weight"),
        ([], "no queue is given"),
        (7, "queues must be a list"),
    ],
)
def test_queues_that_can_not_be_meant_are_refused_with_what_is_expected(queues, expected):
    with pytest.raises(InvalidConfig, match=expected):
        Capsule(queues=queues)


@pytest.mark.parametrize("concurrency", [0, -1, 2.5, "3", True, None])
def test_concurrency_is_a_whole_number_above_zero(concurrency):
    with pytest.raises(InvalidConfig, match="concurrency must be a whole number of 1 or more"):
        Capsule(concurrency=concurrency)


def test_a_frozen_capsule_says_what_can_not_change():
    capsule = Capsule(name="single")
    capsule.freeze()

    with pytest.raises(AttributeError, match="capsule single: queues can't change after launch"):
        capsule.queues = ["other"]


def test_parse_queues_gives_names_and_weights():
    assert Capsule.parse_queues(["critical,3", "default"]) == {"critical": 3, "default": 0}
