"""A greenlet may be killed at any moment of a call: nobody ever reads a reply meant for another."""

from __future__ import annotations

import pytest

from tests.helpers import run_python

KILLS = """
from gevent import monkey
monkey.patch_all()
import gevent, random, sys
gevent.get_hub().NOT_ERROR += (Exception, BaseException)  # killed greenlets print no traceback
from sidekiq_py.redis_connection import RedisOptions, RedisPool
from sidekiq_py.scripts import Script

seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
print("seed", seed, file=sys.stderr)
dice = random.Random(seed)
pool = RedisPool(RedisOptions.from_url(sys.argv[1]), size=9, timeout=30)
echo = Script("echo", "for i = 1, 5000 do end return ARGV")  # slow enough to be hit in the middle
wrong, done = [], [0]

class Odd(BaseException):
    pass

def one(number):
    text = str(number).encode() * dice.choice([1, 100, 50_000])
    kind = dice.randrange(3)
    if kind == 0:
        got, expected = pool.call("ECHO", text), text
    elif kind == 1:
        got, expected = pool.pipeline([("ECHO", text), ("ECHO", number)]), [text, str(number).encode()]
    else:
        got, expected = pool.run_script(echo, [], [text, number]), [text, str(number).encode()]
    done[0] += 1
    if got != expected:
        wrong.append(number)

def limited(number):
    with gevent.Timeout(dice.uniform(0.00001, 0.001), False):
        one(number)

kills = rounds = 0
while kills < 1500 or done[0] < 300:
    rounds += 1
    greenlets = [gevent.spawn(dice.choice([one, limited]), rounds * 10 + n) for n in range(10)]
    gevent.sleep(dice.uniform(0, dice.choice([0.001, 0.002, 0.005])))
    for greenlet in greenlets:
        if not greenlet.ready():
            greenlet.kill(dice.choice([gevent.GreenletExit, Odd, RuntimeError]), block=False)
            kills += 1
    for greenlet in greenlets:
        greenlet.join()

assert not wrong, wrong
for number in range(20):
    assert pool.call("ECHO", number) == str(number).encode()
print("fine")
"""


@pytest.mark.row("J2")
def test_fifteen_hundred_greenlets_killed_at_random_read_no_wrong_reply(redis_url):
    assert run_python(KILLS, redis_url) == "fine\n"
