"""How often a server looks for garbage: less often the more jobs run at once, or as the application wants."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from sidekiq_py.garbage import PYTHONS_OWN, look_less_often


@pytest.fixture(autouse=True)
def _as_python_starts() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*PYTHONS_OWN)
    yield
    gc.set_threshold(*before)


def test_a_thousand_waiting_jobs_are_not_taken_for_growing_garbage():
    look_less_often(1_000)

    assert gc.get_threshold() == (10_000, *PYTHONS_OWN[1:])


def test_a_few_jobs_change_nothing():
    look_less_often(10)

    assert gc.get_threshold() == PYTHONS_OWN


@pytest.mark.parametrize("own", [(300, 5, 5), (0, 0, 0)], ids=["often", "never"])
def test_what_the_application_has_set_is_left_alone(own):
    gc.set_threshold(*own)

    look_less_often(1_000)

    assert gc.get_threshold() == own
