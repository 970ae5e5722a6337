import asyncio
import os

from saq import Queue

queue = Queue.from_url(os.environ["REDIS_URL"])


async def no_op(context, *, number):
    pass


settings = {"queue": queue, "functions": [no_op], "concurrency": int(os.environ["CONCURRENCY"])}


def enqueue(count):
    async def push():
        await queue.connect()
        for number in range(count):
            await queue.enqueue("no_op", number=number, ttl=-1)  # -1: no result is kept
        await queue.disconnect()

    asyncio.run(push())
