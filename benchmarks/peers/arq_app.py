import asyncio
import logging
import os

from arq import create_pool
from arq.connections import RedisSettings

SETTINGS = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def no_op(context, number):
    pass


class WorkerSettings:
    functions = (no_op,)
    redis_settings = SETTINGS
    max_jobs = int(os.environ["CONCURRENCY"])
    poll_delay = 0.01  # seconds; with its default of 0.5 it would mostly wait
    keep_result = 0

    @staticmethod
    async def on_startup(context):
        logging.getLogger("arq").setLevel(logging.ERROR)


def enqueue(count):
    async def push():
        pool = await create_pool(SETTINGS)
        for number in range(count):
            await pool.enqueue_job("no_op", number)

    asyncio.run(push())
