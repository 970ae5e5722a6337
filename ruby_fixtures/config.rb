# frozen_string_literal: true

# Prints what Sidekiq's own command line makes of each case of a JSON file, a process for each:
#   [{"arguments": ["-q", "critical,3"], "environ": {"RAILS_MAX_THREADS": "3"}}, …]
require_relative "setup"
require "sidekiq/cli"

KEYS = %i[timeout tag verbose].freeze

def capsule(concurrency, mode, queues)
  {concurrency: concurrency, mode: mode, shares: mode.to_s == "strict" ? queues.uniq : queues.tally}
end

def of_config(config)
  capsules = config.capsules.to_h { |name, cap| [name, capsule(cap.concurrency, cap.mode, cap.queues)] }
  KEYS.to_h { |key| [key, config[key]] }.merge(labels: config[:labels].to_a, capsules: capsules)
end

# 6.4 has one set of queues, and calls strict what isn't drawn.
def of_options(options)
  mode = options[:strict] ? "strict" : "weighted"
  capsules = {"default" => capsule(options[:concurrency], mode, options[:queues])}
  KEYS.to_h { |key| [key, options[key]] }.merge(labels: options[:labels].to_a, capsules: capsules)
end

def answer(one)
  ENV.update(one["environ"])
  Sidekiq::CLI.instance.parse(one["arguments"])
  Sidekiq.respond_to?(:options) ? of_options(Sidekiq.options) : of_config(Sidekiq.default_configuration)
rescue ArgumentError, KeyError, TypeError => error
  {error: error.class.name}
end

answers = JSON.parse(File.read(ARGV.fetch(0))).map do |one|
  reader, writer = IO.pipe
  fork do
    writer.write(JSON.generate(answer(one)))
    writer.close
    exit!(0)
  end
  writer.close
  reader.read.then { |text| text.empty? ? {error: "exit"} : JSON.parse(text) }
end
puts JSON.generate(answers)
