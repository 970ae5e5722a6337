# A sidekiq-py server. Put your handlers at /app/handlers.py: mount them, or build an image FROM this one.
FROM python:3.13-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY sidekiq_py ./sidekiq_py
RUN pip install --no-cache-dir '.[setproctitle]'
WORKDIR /app
RUN useradd --create-home app
USER app
# TERM stops it in order; `docker stop -t` must leave it longer than `-t` does its jobs.
STOPSIGNAL SIGTERM
CMD ["sidekiq-py", "-r", "handlers.py"]
