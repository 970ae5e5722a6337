# frozen_string_literal: true

# The benchmarks' jobs for Ruby; handlers.py has the same ones for sidekiq-py.
require_relative "setup"

Sidekiq.configure_server { |config| config.logger.level = Logger::ERROR }

STAMPS = File.open("stamps.log", "a").tap { |file| file.sync = true }

class NoOp
  include Sidekiq::Job

  def perform(_number)
  end
end

class Sleep
  include Sidekiq::Job

  def perform(seconds)
    sleep seconds
  end
end

class Stamp
  include Sidekiq::Job

  def perform(due)
    STAMPS.syswrite(format("%.6f\n", Time.now.to_f - due))
  end
end
