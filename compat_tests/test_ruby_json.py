"""What we store, Ruby would store with the same bytes, so that its `reschedule` doubles no job."""

from __future__ import annotations

import base64
import json
import math
import random
import struct
from collections.abc import Sequence

import pytest

from compat_tests.ruby import Ruby
from sidekiq_py.errors import InvalidPayload
from sidekiq_py.payload import fields, parse, rebuild
from sidekiq_py.ruby_json import generate, tidy, unreadable_by_ruby

ALPHABET = 'aé日😀\u2028\u2029\x00\x01\x1f\x7f\x80"\\/<>&\b\f\n\r\t \ufeff\ufffd\u0300'
# Pieces of JSON, sound and unsound, that are thrown into a payload.
PIECES = [
    *(b"null", b"true", b"1", b"-0", b"-0.0", b"01", b"1.", b".5", b"+1", b"1e5", b"1E-7", b"1e400", b"1.50"),
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"'x'",
        b"9" * 400,
        b"0.1e-400",
        b"1e20",
        b"1.0e+20",
        b"12345678901.5",
    ),
    *(
        b'"\\u00e9"',
        b'"\\/"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\\u0000"',
        b'"\\x"',
        b'"\\',
    ),
    *(
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc3\xa9"',
        b'"\n"',
        b'"\x7f"',
        b"\xef\xbb\xbf",
        b'"\xef\xbb\xbf"',
        b"\x00",
    ),
    *(
        b"[1,]",
        b'{"a":1,"a":2}',
        b'{"a":1,}',
        b"{1:2}",
        b"/* x */1",
        b"1//x\n",
        b"[[[[[]]]]]",
        b" \t\r\n1",
        b"\xa01",
    ),
    *(b"[" * 96 + b"]" * 96, b"[" * 98 + b"]" * 98, b"[" * 99 + b"]" * 99, b"[" * 200 + b"]" * 200),
    *(b'{"":{}}', b'{"\\u0061":1,"a":2}', b'{"json_class":"String"}', b"]", b"}", b",", b'"', b""),
]
ENVELOPES = [
    b'{"class":"A","args":[%s],"jid":"j"}',
    b'{ "class" : "A", "args" : [ 1 , %s ] }',
    b'{"class":"A","args":[],"x":%s,"y":{"z":%s}}',
    b'{"class":"A","args":[]}%s',
    b'%s{"class":"A","args":[]}',
    b'{"class":"A",%s"args":[]}',
]


def written_anew(ruby: Ruby, texts: Sequence[bytes]) -> list[bytes | None]:
    """What Ruby makes of each text when it reads it and writes it again; None where it raises."""
    encoded = [base64.b64encode(text).decode() for text in texts]
    answers = ruby.eval(
        """
        args.map do |text|
          bytes = text.unpack1("m").force_encoding("UTF-8")
          [JSON.generate(JSON.parse(bytes))].pack("m0")
        rescue JSON::ParserError, JSON::GeneratorError, EncodingError, JSON::NestingError
          nil
        end
        """,
        *encoded,
    )
    return [None if answer is None else base64.b64decode(answer) for answer in answers]


def number(chance: random.Random) -> float | int:
    kind = chance.randrange(5)
    if kind == 0:
        return chance.randrange(-(10**25), 10**25)
    if kind == 1:
        return chance.uniform(-1, 1) * 10.0 ** chance.randrange(-320, 308)
    if kind == 2:
        return float(10 ** chance.randrange(22)) * chance.choice([1, -1, 1.5, 123])
    if kind == 3:
        return round(chance.uniform(0, 10), chance.randrange(12))
    return chance.choice([0.0, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53, 1795490000.5])


def value(chance: random.Random, depth: int = 0) -> object:
    kind = chance.randrange(4 if depth > 4 else 6)
    if kind == 4:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 5:
        return {text(chance): value(chance, depth + 1) for _ in range(chance.randrange(4))}
    return [None, chance.random() < 0.5, text(chance), number(chance)][kind]


def text(chance: random.Random) -> str:
    return "".join(chance.choices(ALPHABET, k=chance.randrange(8)))


@pytest.mark.parametrize("seed", range(3))
def test_what_we_write_ruby_writes_with_the_same_bytes(ruby: Ruby, seed: int) -> None:
    chance = random.Random(seed)
    texts = [generate({"args": [value(chance)]}, modern_floats=ruby.major >= 8) for _ in range(2_000)]

    assert written_anew(ruby, texts) == texts


@pytest.mark.row("E6")
def test_what_we_store_again_ruby_reads_and_would_store_alike(ruby: Ruby) -> None:
    chance = random.Random(4)
    foreign = [filled(envelope, chance.choices(PIECES, k=2)) for envelope in ENVELOPES for _ in range(200)]
    foreign += [filled(envelope, [piece, piece]) for envelope in ENVELOPES for piece in PIECES]

    stored = [again for each in foreign if (again := stored_again(each, ruby)) is not None]

    assert len(stored) > 300
    assert written_anew(ruby, stored) == stored


def filled(envelope: bytes, pieces: Sequence[bytes]) -> bytes:
    for piece in pieces:
        envelope = envelope.replace(b"%s", piece, 1)
    return envelope


def stored_again(text: bytes, ruby: Ruby) -> bytes | None:
    """What a failure leaves of these bytes where Ruby's scheduler finds it; None when it goes elsewhere."""
    try:
        parse(text)
        again = rebuild(fields(tidy(text, modern_floats=ruby.major >= 8)))
    except InvalidPayload:
        return None
    return again if unreadable_by_ruby(again) is None else None


def test_floats_are_spelt_as_this_ruby_s_json_spells_them(ruby: Ruby) -> None:
    chance = random.Random(5)
    numbers = [float(number(chance)) for _ in range(20_000)]
    numbers += [round(1795490000 + chance.random(), 6) for _ in range(10_000)]
    numbers += [chance.randrange(10**7) * 10.0 ** chance.randrange(22) for _ in range(10_000)]
    numbers += [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(10_000)]
    finite = [each for each in numbers if math.isfinite(each)]

    [text] = written_anew(ruby, [json.dumps(finite).encode()])

    assert text is not None
    assert generate(finite, modern_floats=ruby.major >= 8).split(b",") == text.split(b",")
    assert tidy(text) == text
