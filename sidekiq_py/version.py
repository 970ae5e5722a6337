"""The version, in one place: read by the build, the heartbeat, `--version` and the logs."""

VERSION = "0.1.0"
