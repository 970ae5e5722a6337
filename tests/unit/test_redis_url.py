"""Redis URLs and options: what each form means, and what a wrong one is told."""

from __future__ import annotations

import pytest

from sidekiq_py.errors import InvalidConfig
from sidekiq_py.redis_connection import RedisOptions
from sidekiq_py.redis_connection.url import Address, masked, parse_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", Address()),
        ("redis://localhost:6379/0", Address()),
        ("redis://", Address()),
        ("redis:///3", Address(db=3)),
        (" redis://cache:7000/15\n", Address(host="cache", port=7000, db=15)),
        ("redis://cache?db=4", Address(host="cache", db=4)),
        ("redis://:s3cret@cache", Address(host="cache", password="s3cret")),
        ("redis://al:s3cret@cache", Address(host="cache", username="al", password="s3cret")),
        ("redis://al:p%40ss%2Fword@cache", Address(host="cache", username="al", password="p@ss/word")),
        ("redis://cache?username=al&password=p%40ss", Address(host="cache", username="al", password="p@ss")),
        ("redis://[::1]:7000/1", Address(host="::1", port=7000, db=1)),
        ("rediss://cache", Address(host="cache", secure=True)),
        (
            "rediss://cache?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            Address(
                host="cache",
                secure=True,
                tls={"ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False},
            ),
        ),
        ("unix:///run/a@b.sock", Address(path="/run/a@b.sock")),
        ("unix:///run/redis.sock", Address(path="/run/redis.sock")),
        ("unix:///run/my%20redis.sock?db=2", Address(path="/run/my redis.sock", db=2)),
        (
            "unix://al:s3cret@/run/redis.sock",
            Address(path="/run/redis.sock", username="al", password="s3cret"),
        ),
        ("redis+sentinel://one/main", Address(sentinels=(("one", 26379),), master_name="main")),
        (
            "redis+sentinel://al:s3cret@one:1,two:2,[::1]/main/5?sentinel_password=other&sentinel_username=eve",
            Address(
                sentinels=(("one", 1), ("two", 2), ("::1", 26379)),
                master_name="main",
                db=5,
                username="al",
                password="s3cret",
                sentinel_username="eve",
                sentinel_password="other",
            ),
        ),
        ("rediss+sentinel://one/main", Address(sentinels=(("one", 26379),), master_name="main", secure=True)),
    ],
)
def test_a_url_names_an_address(url, expected):
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "it has no scheme"),
        ("localhost:6379", "the scheme 'localhost' is unknown"),
        ("http://localhost:6379", "the scheme 'http' is unknown"),
        ("redis://cache/zero", "the database 'zero' is not a number"),
        ("redis://cache/-1", "the database '-1' is not a number"),
        ("redis://cache/0/1", "the path '/0/1' is not a database number"),
        ("redis://cache:port", "'cache:port' is not a host[:port]"),
        ("redis://cache:70000", "'cache:70000' is not a host[:port]"),
        ("redis://cache:0", "'cache:0' is not a host[:port]"),
        ("redis://one,two", "'one,two' is not a host[:port]"),
        ("redis://[::1", "Invalid IPv6 URL"),
        ("redis://cache?socket_timeout=5", "the option 'socket_timeout' is unknown"),
        ("rediss://cache?ssl_cert_reqs=maybe", "ssl_cert_reqs is 'maybe'"),
        ("unix://redis.sock", "needs an absolute path"),
        ("unix://", "needs an absolute path"),
        ("redis+sentinel://one", "needs at least one host and the master's name"),
        ("redis+sentinel:///main", "needs at least one host and the master's name"),
    ],
)
def test_a_wrong_url_is_told_what_is_wrong_and_what_is_expected(url, reason):
    with pytest.raises(InvalidConfig) as caught:
        parse_url(url)

    assert reason in str(caught.value)
    assert repr(url) in str(caught.value)
    assert "for example redis://localhost:6379/0" in str(caught.value)


def test_something_that_is_no_string_is_told_so():
    with pytest.raises(InvalidConfig, match="it is a int, not a string"):
        parse_url(6379)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:s3cret@cache/1", "redis://:***@cache/1"),
        ("redis://al:s3cret@cache/1", "redis://al:***@cache/1"),
        ("redis://al:s3@c/r?e#t@cache/1", "redis://al:***@cache/1"),
        ("nonsense://al:s3cret@cache", "nonsense://al:***@cache"),
        ("al:s3cret@cache", "al:***@cache"),
        ("redis://cache?password=s3cret&db=1", "redis://cache?password=***&db=1"),
        (
            "redis+sentinel://:s3cret@a,b/m?sentinel_password=s3cret",
            "redis+sentinel://:***@a,b/m?sentinel_password=***",
        ),
        ("rediss://cache?ssl_password=s3cret", "rediss://cache?ssl_password=***"),
    ],
)
def test_a_shown_url_hides_every_password(url, shown):
    assert masked(url) == shown
    assert "s3cret" not in masked(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://al:s3cret@cache:port",
        "redis://al:s3cret@[::1",
        "nonsense://al:s3cret@cache",
        "redis://al:s3cret@cache/zero",
        "redis://cache?password=s3cret&what=1",
        "al:s3cret@cache",
        "redis://al:pre#s3cret@cache",
        "redis://al:pre?s3cret@cache",
        "redis://al:pre/s3cret@cache",
        "redis://al:pre:s3cret@[cache",
    ],
)
def test_an_error_about_a_url_hides_the_password(url):
    with pytest.raises(InvalidConfig) as caught:
        RedisOptions.from_url(url)

    assert "s3cret" not in str(caught.value)
    assert "pre" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_keywords_win_over_the_url():
    options = RedisOptions(
        url="redis://al:old@cache/1?sentinel_password=old",
        username="eve",
        password="new",
        db=0,
        sentinel_password="new",
    )

    assert options.address == Address(
        host="cache", username="eve", password="new", db=0, sentinel_password="new"
    )


def test_sentinels_as_keywords_take_the_master_name_from_the_host_as_in_ruby():
    options = RedisOptions(url="redis://main/3", sentinels=["one", "two:2"])

    assert options.address.sentinels == (("one", 26379), ("two", 2))
    assert options.address.master_name == "main"
    assert options.address.db == 3


def test_options_show_no_secret():
    options = RedisOptions(
        url="redis://al:s3cret@cache?sentinel_password=s3cret",
        password="s3cret",
        sentinel_password="s3cret",
        tls={"ssl_password": "s3cret"},
    )

    assert repr(options) == "RedisOptions('redis://al:***@cache?sentinel_password=***')"
    assert "s3cret" not in f"{options} {options.address} {options.address!r} {options.connect()!r}"


def test_a_tls_file_that_is_not_there_is_named():
    with pytest.raises(InvalidConfig, match="ssl_ca_certs names '/no/ca.pem', which is not a file"):
        RedisOptions(url="rediss://cache?ssl_ca_certs=/no/ca.pem")


def test_an_unknown_tls_option_is_named():
    with pytest.raises(InvalidConfig, match="TLS option 'ssl_caa' is unknown; there are .*ssl_ca_certs"):
        RedisOptions(url="rediss://cache", tls={"ssl_caa": "x"})


def test_tls_options_for_a_plain_url_are_left_aside():
    assert RedisOptions(url="redis://cache", tls={"ssl_ca_certs": "/no/ca.pem"}).address.secure is False


@pytest.mark.parametrize("name", ["connect_timeout", "read_timeout"])
def test_a_timeout_must_be_above_zero(name):
    with pytest.raises(InvalidConfig, match=f"redis {name} is 0: expected seconds above 0"):
        RedisOptions(**{name: 0})


def test_equal_options_are_equal():
    assert RedisOptions(db=1) == RedisOptions(db=1)
    assert RedisOptions(db=1) != RedisOptions(db=2)
