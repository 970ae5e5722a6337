# frozen_string_literal: true

require "sidekiq"

# Moves to Python. `perform` stays until no job of it is left on an old queue.
class MonthlyReportJob
  include Sidekiq::Job
  sidekiq_options queue: ENV.fetch("REPORTS_QUEUE", "default"), retry: 5

  def perform(account_id, month)
    logger.info("Ruby writes the report of #{month} for account #{account_id}")
    ReportMailJob.perform_async(account_id, "report of #{month}")
  end
end

# Stays in Ruby.
class ReportMailJob
  include Sidekiq::Job
  sidekiq_options queue: "default"

  def perform(account_id, subject)
    logger.info("Ruby mails the #{subject} to account #{account_id}")
  end
end
