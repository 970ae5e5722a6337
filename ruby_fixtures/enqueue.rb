# frozen_string_literal: true

# Pushes a mix of jobs for Python handlers, which Ruby knows by name only, and prints what it pushed as one
# JSON object: {"jids": {"kind": [jid…]}}. REDIS_URL says where to; the first argument names the queue.
require_relative "setup"

queue = ARGV.fetch(0, "default")

def push(job_class, queue, *args, **options)
  job = {"class" => job_class, "queue" => queue, "args" => args}
  Sidekiq::Client.push(job.merge(options.transform_keys(&:to_s)))
end

def push_bulk(job_class, queue, argument_lists)
  Sidekiq::Client.push_bulk("class" => job_class, "queue" => queue, "args" => argument_lists)
end

jids = {
  "normal" => [push("HardJob", queue, "bob", 5), push("HardJob", queue, "é ü 日本 😀", 1)],
  "options" => [push("HardJob", queue, "tagged", 1, tags: %w[demo ruby], retry: 3)],
  "scheduled" => [push("HardJob", queue, "later", 1, at: Time.now.to_f + 1)],
  "bulk" => push_bulk("HardJob", queue, (1..20).map { |number| ["bulk", number] }),
  "failing" => [push("FlakyJob", queue, 1)],
  "back_to_ruby" => [push("ForwardJob", queue, "HardJob", "ruby", ["from Python"])]
}
puts JSON.generate("jids" => jids)
