"""A wire-compatible Sidekiq server in Python."""
