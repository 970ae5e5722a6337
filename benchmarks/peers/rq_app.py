import os

from redis import Redis
from rq import Queue


def no_op(number):
    pass


def enqueue(count):
    queue = Queue("default", connection=Redis.from_url(os.environ["REDIS_URL"]))
    for start in range(0, count, 1_000):
        numbers = range(start, min(start + 1_000, count))
        queue.enqueue_many([Queue.prepare_data(no_op, (number,), result_ttl=0) for number in numbers])
