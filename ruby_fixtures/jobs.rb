# frozen_string_literal: true

# Job classes for the Ruby side. What a job did is told in the Redis list `ruby_fixtures:ran`, one JSON object
# {class, jid, args} per execution, oldest first, so that a test or a demo can wait for it.
require_relative "setup"

RAN = "ruby_fixtures:ran"

module TellsWhatRan
  def tell(*args)
    told = JSON.generate("class" => self.class.name, "jid" => jid, "args" => args)
    Sidekiq.redis { |redis| redis.rpush(RAN, told) }
  end
end

class HardJob
  include Sidekiq::Worker
  include TellsWhatRan

  def perform(*args)
    tell(*args)
  end
end

# Tells before it sleeps, so that whoever waits knows it is running.
class SlowJob
  include Sidekiq::Worker
  include TellsWhatRan

  def perform(seconds, *args)
    tell(seconds, *args)
    sleep seconds
  end
end

# Has a backtrace that doesn't depend on where this file lies.
class BoomJob
  include Sidekiq::Worker
  include TellsWhatRan
  sidekiq_options retry: 1, backtrace: 2

  FRAMES = ["app/jobs/boom_job.rb:5:in `perform'", "app/jobs/boom_job.rb:3:in `block'", "lib/outside.rb:1"].freeze

  def perform(*args)
    tell(*args)
    raise ArgumentError, "boom é <b>", FRAMES
  end
end

class PlainBoom
  include Sidekiq::Worker
  include TellsWhatRan

  def perform(*args)
    tell(*args)
    raise "plain boom"
  end
end

class QueueBoom
  include Sidekiq::Worker
  include TellsWhatRan
  sidekiq_options queue: "critical", retry: 5, retry_queue: "low", tags: ["t1"]

  def perform(*args)
    tell(*args)
    raise "queue boom"
  end
end

class ZeroJob
  include Sidekiq::Worker
  include TellsWhatRan
  sidekiq_options retry: 0

  def perform(*args)
    tell(*args)
    raise "zero"
  end
end

# retry: false is neither retried nor buried.
class NeverJob
  include Sidekiq::Worker
  include TellsWhatRan
  sidekiq_options retry: false

  def perform(*args)
    tell(*args)
    raise "never"
  end
end

# Fails as often as its first argument says, then succeeds.
class FlakyJob
  include Sidekiq::Worker
  include TellsWhatRan
  sidekiq_retry_in { 1 }

  def perform(failures, *args)
    tell(failures, *args)
    attempt = Sidekiq.redis { |redis| redis.incr("ruby_fixtures:attempts:#{jid}") }
    raise "flaky #{attempt}" if attempt <= failures
  end
end

# Pushes a job for somebody else, usually a Python handler.
class ForwardJob
  include Sidekiq::Worker
  include TellsWhatRan

  def perform(job_class, queue, args)
    tell(job_class, queue, args)
    Sidekiq::Client.push("class" => job_class, "queue" => queue, "args" => args)
  end
end

# Iterable jobs came with Sidekiq 7.3.
begin
  require "sidekiq/iterable_job"
rescue LoadError
  nil
else
  class CountJob
    include Sidekiq::IterableJob
    include TellsWhatRan

    def build_enumerator(upto, cursor:)
      array_enumerator((0...upto).to_a, cursor: cursor)
    end

    def each_iteration(number, _upto)
      tell(number)
      sleep 0.1
    end
  end
end
