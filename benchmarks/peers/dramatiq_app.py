import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))


@dramatiq.actor
def no_op(number):
    pass


def enqueue(count):
    for number in range(count):
        no_op.send(number)
