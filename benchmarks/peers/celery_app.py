import os

from celery import Celery

app = Celery("bench", broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)


@app.task
def no_op(number):
    pass


def enqueue(count):
    with app.pool.acquire(block=True) as connection, app.amqp.Producer(connection) as producer:
        for number in range(count):
            no_op.apply_async((number,), producer=producer)
