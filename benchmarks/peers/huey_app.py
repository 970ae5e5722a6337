import os

from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["REDIS_URL"], results=False)


@huey.task()
def no_op(number):
    pass


def enqueue(count):
    for number in range(count):
        no_op(number)
