"""Cross-language tests: sidekiq-py and real Ruby Sidekiq 6.4, 7.3 and 8.1 on one Redis."""
