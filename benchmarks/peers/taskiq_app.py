import asyncio
import os

from taskiq_redis import ListQueueBroker

broker = ListQueueBroker(os.environ["REDIS_URL"])


@broker.task
async def no_op(number):
    pass


def enqueue(count):
    async def push():
        await broker.startup()
        for number in range(count):
            await no_op.kiq(number)
        await broker.shutdown()

    asyncio.run(push())
