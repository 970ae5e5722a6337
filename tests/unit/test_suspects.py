"""Which job a crash is counted for, told from its bytes."""

from __future__ import annotations

import pytest

from sidekiq_py.suspects import jid_of


@pytest.mark.parametrize(
    ("payload", "jid"),
    [
        (b'{"class":"A","args":[],"jid":"b4a5"}', "b4a5"),
        (b'{"args":[{"jid":"ffff"}],"jid":"b4a5"}', "b4a5"),
        (b'{"args":["\\"jid\\":\\"ffff\\""],"jid" : "b4a5"}', "b4a5"),
        (b'{"args":[{"jid":"ffff"}]}', ""),
        (b'{"args":[{"jid":"ffff"}],"jid":7}', ""),
        (b'{"jid":"' + b"f" * 65 + b'"}', ""),
        (b'{"jid":"b4a5","args":[NaN]}', "b4a5"),
        (b'{"jid":"b4a5","args":[' + b"9" * 5000 + b"]}", "b4a5"),
        (b'{"args":' + b"[" * 100_000 + b"]" * 100_000 + b',"jid":"b4a5"}', "b4a5"),
        (b'{"jid":"b4a5"', "b4a5"),
        (b"[1]", ""),
        (b"", ""),
    ],
    ids=lambda value: value[:40].decode() if isinstance(value, bytes) else None,
)
def test_a_crash_counts_for_the_job_s_own_jid(payload: bytes, jid: str):
    assert jid_of(payload) == jid
