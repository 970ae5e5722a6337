# frozen_string_literal: true

# What real Sidekiq sees and does, as plain data. Each public method of Inspect takes and returns JSON values;
# times are float seconds. One shot: `ruby inspect.rb stats`, `ruby inspect.rb find_job retry 5a3f…`.
require_relative "jobs"
require "sidekiq/deploy" unless Sidekiq::VERSION.start_with?("6.")

module Inspect
  SETS = {
    "schedule" => Sidekiq::ScheduledSet,
    "retry" => Sidekiq::RetrySet,
    "dead" => Sidekiq::DeadSet
  }.freeze

  ENTRY_FIELDS = %i[jid klass display_class display_args args queue tags bid created_at enqueued_at error_backtrace].freeze
  INFO_KEYS = %w[
    hostname started_at pid tag concurrency queues weights capsules labels identity version embedded
    busy beat quiet rss rtt_us
  ].freeze

  module_function

  def version
    {"sidekiq" => Sidekiq::VERSION, "ruby" => RUBY_VERSION, "json" => JSON::VERSION}
  end

  # --- push -------------------------------------------------------------------------------------------------

  def push(item)
    Sidekiq::Client.push(item)
  end

  def push_bulk(item)
    Sidekiq::Client.push_bulk(item)
  end

  def perform_async(job_class, args, options = {})
    setter(job_class, options).perform_async(*args)
  end

  def perform_in(job_class, interval, args, options = {})
    setter(job_class, options).perform_in(interval, *args)
  end

  def perform_bulk(job_class, args)
    Object.const_get(job_class).perform_bulk(args)
  end

  def setter(job_class, options)
    Object.const_get(job_class).set(options.transform_keys(&:to_sym))
  end

  # --- queues -----------------------------------------------------------------------------------------------

  def queues
    Sidekiq::Queue.all.to_h { |queue| [queue.name, queue.size] }
  end

  # Newest first, as Sidekiq lists them.
  def queue(name)
    queue = Sidekiq::Queue.new(name)
    {"name" => queue.name, "size" => queue.size, "latency" => queue.latency, "jobs" => queue.map { |job| entry(job) }}
  end

  def delete_from_queue(name, jid)
    Sidekiq::Queue.new(name).find_job(jid)&.delete
  end

  def clear_queue(name)
    Sidekiq::Queue.new(name).clear
    nil
  end

  # --- sorted sets ------------------------------------------------------------------------------------------

  # Newest first, as Sidekiq lists them.
  def set(name)
    SETS.fetch(name).new.map { |job| entry(job) }
  end

  def set_size(name)
    SETS.fetch(name).new.size
  end

  # retry_all, kill_all, clear…
  def set_action(name, action, *args)
    SETS.fetch(name).new.public_send(action, *args)
    nil
  end

  def find_job(set_name, jid)
    found = SETS.fetch(set_name).new.find_job(jid)
    found && entry(found)
  end

  # Raw members that ZSCAN finds, as `scan` yields them.
  def scan(set_name, match)
    SETS.fetch(set_name).new.scan(match).map { |job| entry(job) }
  end

  # retry, kill, delete, add_to_queue, reschedule(seconds since the epoch)
  def entry_action(set_name, jid, action, *args)
    found = SETS.fetch(set_name).new.find_job(jid) or raise ArgumentError, "no #{jid} in #{set_name}"
    found.public_send(action, *args)
    nil
  end

  def entry(job)
    known = ENTRY_FIELDS.select { |name| job.respond_to?(name) }
    fields = known.to_h { |name| [name.to_s, plain(job.public_send(name))] }
    fields.merge!("value" => text(job.value), "item" => job.item)
    fields.merge!("score" => job.score, "at" => plain(job.at)) if job.respond_to?(:score)
    fields
  end

  # --- processes --------------------------------------------------------------------------------------------

  def processes
    Sidekiq::ProcessSet.new.map do |process|
      INFO_KEYS.to_h { |key| [key, process[key]] }.merge!(told_by(process))
    end
  end

  def told_by(process)
    told = {"stopping?" => process.stopping?, "tag()" => process.tag, "labels()" => process.labels}
    %i[queues weights version capsules embedded?].each do |name|
      told["#{name}()"] = process.public_send(name) if process.respond_to?(name)
    end
    told
  end

  def process_count
    processes = Sidekiq::ProcessSet.new(false)
    {"size" => processes.size, "total_concurrency" => processes.total_concurrency, "leader" => processes.leader}
  end

  # quiet!, stop!, dump_threads
  def process_action(identity, action)
    found = Sidekiq::ProcessSet.new.find { |process| process["identity"] == identity }
    raise ArgumentError, "no process #{identity}" unless found
    found.public_send(action)
    nil
  end

  def work
    work_set = defined?(Sidekiq::WorkSet) ? Sidekiq::WorkSet : Sidekiq::Workers
    work_set.new.map do |process, thread, work|
      job = work.is_a?(Hash) ? work : {"queue" => work.queue, "run_at" => work.run_at, "payload" => work.payload}
      {"process" => process, "thread" => thread, "queue" => job["queue"], "run_at" => plain(job["run_at"]),
       "payload" => job["payload"]}
    end
  end

  # --- numbers ----------------------------------------------------------------------------------------------

  def stats
    stats = Sidekiq::Stats.new
    %i[processed failed enqueued scheduled_size retry_size dead_size processes_size workers_size queues
       default_queue_latency].to_h { |name| [name.to_s, stats.public_send(name)] }
  end

  def reset_stats
    Sidekiq::Stats.new.reset
    nil
  end

  def history(days)
    history = Sidekiq::Stats::History.new(days)
    {"processed" => history.processed, "failed" => history.failed}
  end

  # Sidekiq 7 and later. `options` such as {"minutes" => 60} or, in 8, {"hours" => 24}.
  def metrics(options = {})
    metrics_result(query.top_jobs(**options.transform_keys(&:to_sym)))
  end

  def metrics_for(job_class, options = {})
    metrics_result(query.for_job(job_class, **options.transform_keys(&:to_sym)))
  end

  def query
    require "sidekiq/metrics/query"
    Sidekiq::Metrics::Query.new
  end

  def metrics_result(result)
    jobs = result.job_results.transform_values do |job|
      {"totals" => job.totals, "series" => job.series, "hist" => job.hist}
    end
    {"jobs" => jobs, "marks" => result.marks.map { |mark| {"time" => plain(mark.time), "label" => mark.label} }}
  end

  def mark_deploy(label)
    Sidekiq::Deploy.mark!(label)
    nil
  end

  def deploys
    Sidekiq::Deploy.new.fetch
  end

  # --- plain data -------------------------------------------------------------------------------------------

  def plain(value)
    value.respond_to?(:utc) ? value.to_f : value
  end

  # Stored bytes need not be UTF-8.
  def text(bytes)
    bytes.is_a?(String) ? bytes.dup.force_encoding(Encoding::UTF_8).scrub : bytes
  end
end

if $PROGRAM_NAME == __FILE__
  arguments = ARGV.drop(1).map { |word| JSON.parse(word) rescue word }
  puts JSON.generate(Inspect.public_send(ARGV.fetch(0), *arguments))
end
