"""Every row of docs/chaos.md is shown by a test or says why not; no test shows a row that isn't there."""

from __future__ import annotations

from tests.rows import promised, shown

PROMISED = promised()
SHOWN = shown()
NUMBERS = {each.row for each in SHOWN}


def test_the_page_has_all_groups_without_a_gap():
    numbers = [(row[0], int(row[1:])) for row in PROMISED]

    assert {group for group, _ in numbers} == set("ABCDEFGHJK")
    assert all(number == 1 or (group, number - 1) in numbers for group, number in numbers)


def test_a_row_that_no_test_shows_says_why():
    unshown = {row for row, text in PROMISED.items() if "*Not shown:*" in text}

    assert set(PROMISED) - NUMBERS - unshown == set()
    assert unshown & NUMBERS == set(), "shown by now: say so on the page"


def test_what_a_test_claims_to_show_is_on_the_page():
    assert [each for each in SHOWN if each.row not in PROMISED] == []


def test_a_row_says_soak_only_when_no_shorter_test_shows_it():
    soak_only = {row for row, text in PROMISED.items() if "*Soak only*" in text}

    assert soak_only == NUMBERS - {each.row for each in SHOWN if not each.is_soak}
