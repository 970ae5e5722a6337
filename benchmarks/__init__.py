"""Side-by-side measurements: sidekiq-py, real Sidekiq and other Python queues on one Redis, in one run."""
