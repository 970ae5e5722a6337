"""A Python traceback in the form that Ruby's pages and tools read."""

from __future__ import annotations

from sidekiq_py.backtrace import backtrace_lines, encode_within
from sidekiq_py.payload import decode_backtrace
from sidekiq_py.registry import Registry


def raised(function: object) -> BaseException:
    try:
        function()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def outer() -> None:
    inner()


def inner() -> None:
    raise ValueError("boom")


def test_the_place_of_the_error_comes_first_in_ruby_s_form():
    lines = backtrace_lines(raised(outer))

    line = inner.__code__.co_firstlineno + 1
    assert lines[0] == f"{__file__}:{line}:in 'inner'"
    assert lines[1].endswith(":in 'outer'")
    assert lines[2].endswith(":in 'raised'")


def test_lines_hold_no_angle_brackets_for_ruby_prints_them_as_html():
    module = compile("(lambda: [1 / 0 for _ in (1,)])()", "<script>.py", "exec")

    lines = backtrace_lines(raised(lambda: exec(module)))

    assert lines
    assert not any(bracket in line for line in lines for bracket in "<>")
    assert any("script.py:1:in 'lambda'" in line for line in lines)


def test_a_file_name_that_is_no_text_costs_no_backtrace():
    module = compile("1 / 0", "caf\udce9.py", "exec")

    lines = backtrace_lines(raised(lambda: exec(module)))

    assert decode_backtrace(encode_within(lines)) == lines
    assert lines[0].startswith("caf\ufffd.py:1")


def test_our_own_frames_are_left_out():
    def handler() -> None:
        Registry().lookup("Nobody")

    lines = backtrace_lines(raised(handler))

    assert lines[0].endswith(":in 'handler'")
    assert not any("/sidekiq_py/registry.py" in line for line in lines)


def test_our_own_frames_are_shown_when_there_are_no_others():
    error = raised(lambda: Registry().lookup("Nobody"))
    while error.__traceback__ and "sidekiq_py" not in error.__traceback__.tb_frame.f_code.co_filename:
        error.__traceback__ = error.__traceback__.tb_next

    assert backtrace_lines(error)[0].endswith(":in 'lookup'")


def test_an_error_that_was_never_raised_has_no_lines():
    assert backtrace_lines(ValueError()) == []


def test_a_backtrace_is_stored_whole_when_it_fits():
    lines = [f"app.py:{n}:in 'f'" for n in range(100)]

    assert decode_backtrace(encode_within(lines)) == lines


def test_a_backtrace_that_would_bloat_the_payload_keeps_its_first_lines():
    lines = [f"{n:x}" * 200 for n in range(1, 2000)]

    text = encode_within(lines, limit=2000)

    kept = decode_backtrace(text)
    assert len(text) <= 2000
    assert kept == lines[: len(kept)]
    assert kept
