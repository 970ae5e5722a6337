"""gunicorn app:app: each of its worker processes runs a server beside its requests."""

graceful_timeout = 30


def post_worker_init(worker):
    from app import server  # here, and not above: in the master gevent would come too early

    server.run(redis_may_be_down=True)  # pages go on without Redis; gunicorn ends when a worker can't start


def worker_exit(arbiter, worker):
    from app import server

    server.stop()
