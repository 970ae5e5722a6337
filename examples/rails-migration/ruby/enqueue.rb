# frozen_string_literal: true

require_relative "jobs"

puts MonthlyReportJob.perform_async(7, "2030-01")
