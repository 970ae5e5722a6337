"""JSON to the byte as Ruby's json writes it, in both of its generations, and what Ruby could not read."""

from __future__ import annotations

import json
import math
import random
import struct
import time
import tracemalloc

import pytest

from sidekiq_py.ruby_json import float_text, generate, tidy, unreadable_by_ruby


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, False, None]}, '{"b":1,"a":[true,false,null]}'),
        ("é \u2028 \u2029 \x7f 😀", '"é \u2028 \u2029 \x7f 😀"'),
        ('</a> " \\', '"</a> \\" \\\\"'),
        ("\b\f\n\r\t\x00\x1f", '"\\b\\f\\n\\r\\t\\u0000\\u001f"'),
        (10**40, str(10**40)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        ((1, 2), "[1,2]"),
        ({}, "{}"),
    ],
)
def test_text_has_no_spaces_and_escapes_only_what_it_must(value, text):
    assert generate(value) == text.encode()


@pytest.mark.parametrize(
    ("number", "classic", "modern"),
    [
        (1795490317.0, "1795490317.0", "1795490317.0"),
        (1795489332.1234567, "1795489332.1234567", "1795489332.1234567"),
        (0.0, "0.0", "0.0"),
        (-0.0, "-0.0", "-0.0"),
        (0.1, "0.1", "0.1"),
        (0.0001, "0.0001", "0.0001"),
        (0.00012, "0.00012", "0.00012"),
        (0.00001, "1.0e-05", "0.00001"),
        (-2.5e-7, "-2.5e-07", "-0.00000025"),
        (1e-10, "1.0e-10", "1e-10"),
        (1e15, "1.0e+15", "1e+15"),
        (123456789012345.0, "123456789012345.0", "123456789012345.0"),
        (999999999999999.0, "999999999999999.0", "999999999999999.0"),
        (1e16, "1.0e+16", "1e+16"),
        (123456789012345680.0, "1.2345678901234568e+17", "1.2345678901234568e+17"),
        (9007199254740992.0, "9.007199254740992e+15", "9.007199254740992e+15"),
        (1e20, "1.0e+20", "1e+20"),
        (1.5e300, "1.5e+300", "1.5e+300"),
        (-1.76e90, "-1.76e+90", "-1.76e+90"),
        (5e-324, "5.0e-324", "5e-324"),
    ],
)
def test_each_generation_of_ruby_spells_floats_its_own_way(number, classic, modern):
    assert (float_text(number), float_text(number, modern=True)) == (classic, modern)


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"a": x}, lambda x: {"a": [1, x]}])
def test_a_float_is_spelt_alike_wherever_it_stands(wrap, modern):
    for number in (1e20, 1e16, 1e-5, 1e-7, -1.5e-9, 12345678901.5, 0.0001, 3.5, 1e15):
        plain = json.dumps(wrap("@"), separators=(",", ":"))

        text = generate(wrap(number), modern_floats=modern).decode()

        assert text == plain.replace('"@"', float_text(number, modern=modern))


def test_floats_of_every_size_read_back_equal():
    chance = random.Random(7)
    numbers = [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(5000)]

    for number in filter(math.isfinite, numbers):
        for modern in (False, True):
            text = float_text(number, modern=modern)
            assert float(text) == number
            assert json.loads(generate([number], modern_floats=modern)) == [number]
            assert generate([number], modern_floats=modern).decode() == f"[{text}]"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_without_json_form_is_refused(number):
    with pytest.raises(ValueError, match="no JSON form"):
        float_text(number)


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        (b'{ "a" : [ 1 , 2 ] ,\n"b":"x  y" }', b'{"a":[1,2],"b":"x  y"}'),
        (rb'"\u00e9 \/ \u001F \u0041"', '"é / \\u001f A"'.encode()),
        (rb'"\ud83d\ude00"', '"😀"'.encode()),
        (b"[1.50,1e2,0.10e1,-0.0]", b"[1.5,100.0,1.0,-0.0]"),
        (b"[1E20,1e-5]", b"[1.0e+20,1.0e-05]"),
        (b"[1.0e+20,1e+20,1.0e-05,0.00001]", b"[1.0e+20,1e+20,1.0e-05,0.00001]"),
        (b"[1e400,-1e999]", b"[1e400,-1e999]"),
        (b'["1.50 1e2", "a\\"1.50"]', b'["1.50 1e2","a\\"1.50"]'),
        (b"[" + b"9" * 5000 + b"]", b"[" + b"9" * 5000 + b"]"),
        (b'{"a":1,"a":2}', b'{"a":1,"a":2}'),
        (b'[-0,-0.0,-10,"-0"]', b'[0,-0.0,-10,"-0"]'),
    ],
)
def test_tidying_changes_the_spelling_and_nothing_else(text, tidied):
    assert tidy(text) == tidied


@pytest.mark.parametrize("token", [b'"' + b"x" * 300_000 + b'"', b'"' + rb"\n" * 150_000 + b'"'])
def test_tidying_a_long_text_takes_as_much_memory_as_the_text(token):
    tracemalloc.start()
    try:
        tidy(token)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * len(token)


def test_tidying_a_long_number_takes_no_longer_than_many_short_ones():
    def seconds(text: bytes) -> float:
        since = time.process_time()
        tidy(text)
        return time.process_time() - since

    assert seconds(b"[" + b"1" * 20_000 + b"]") < 10 * seconds(b"[" + b"1.5," * 5_000 + b"1]")


@pytest.mark.parametrize(
    ("modern", "tidied"), [(True, b"[1e+20,1e+20,0.00001]"), (False, b"[1.0e+20,1.0e+20,1.0e-05]")]
)
def test_tidying_spells_floats_as_the_ruby_that_will_read_them(modern, tidied):
    assert tidy(b"[1.0e+20,1e+20,1e-5]", modern_floats=modern) == tidied


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"b":{"a":1,"a":2}}',
        b"[NaN]",
        b"[-Infinity]",
        b"[1e400]",
        b'["\xff"]',
        b'{"a":1,}',
        b'{"a":1} // why',
        b'["\t"]',
        b"\xef\xbb\xbf{}",
        b"[" * 101 + b"]" * 101,
        b"[" * 100_000 + b"]" * 100_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_some_ruby_would_lose_is_known_with_its_reason(text):
    assert unreadable_by_ruby(text)


@pytest.mark.parametrize(
    "text", [b'{"a":[1.5,"\\u00e9",null]}', b"[" * 100 + b"]" * 100, b"[" + b"9" * 5000 + b"]", b"[1e300]"]
)
def test_what_every_ruby_can_read_is_fine(text):
    assert unreadable_by_ruby(text) is None


@pytest.mark.parametrize(
    ("number", "classic", "modern"),
    [
        (1795490000.7986042, "1795490000.7986042", "1795490000.7986043"),
        (1795490000.494856, "1795490000.494856", "1795490000.4948561"),
        (0.93565599323484, "0.93565599323484", "0.9356559932348401"),
        (1.23e22, "1.23e+22", "1.2300000000000001e+22"),
        (5e-324, "5.0e-324", "5e-324"),
        (2.2250738585072014e-308, "2.2250738585072014e-308", "2.2250738585072014e-308"),
        (1.7976931348623157e308, "1.7976931348623157e+308", "1.7976931348623157e+308"),
        (0.0009765625, "0.0009765625", "0.0009765625"),
    ],
)
def test_the_json_beside_sidekiq_8_does_not_always_find_the_shortest_digits(number, classic, modern):
    assert (float_text(number), float_text(number, modern=True)) == (classic, modern)
    assert (generate([number]), generate([number], modern_floats=True)) == (
        f"[{classic}]".encode(),
        f"[{modern}]".encode(),
    )
    assert tidy(f"[{modern}]".encode()) == f"[{modern}]".encode()
    assert float(modern) == number
