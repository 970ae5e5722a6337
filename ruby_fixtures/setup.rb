# frozen_string_literal: true

# Loads Sidekiq, whichever generation is here. REDIS_URL says which Redis, as Sidekiq itself reads it.
gem "sidekiq", ENV["SIDEKIQ_GEM"] if ENV["SIDEKIQ_GEM"]

require "json"
require "sidekiq"
require "sidekiq/api"

# Scripts print JSON on standard output, where Sidekiq logs too. The server's log stays as it is.
Sidekiq.logger.level = Logger::WARN unless Sidekiq.server?
