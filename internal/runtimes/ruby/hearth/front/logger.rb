# frozen_string_literal: true

# Stands before the standard logger: gives it Lambda's records, when it writes to where a
# function's output goes.

$LOAD_PATH.delete(__dir__)
require 'logger'

module Hearth
  # A log device that writes whole records.
  class LogDevice < Logger::LogDevice
    TYPES = { 'DEBUG' => 0xa55a000a, 'INFO' => 0xa55a000e, 'WARN' => 0xa55a0012, 'ERROR' => 0xa55a0016, 'FATAL' => 0xa55a001a }.freeze

    def initialize # rubocop:disable Lint/MissingSuper
    end

    def write(text)
      Hearth.print_record(text, Thread.current[:hearth_frame_type] || 0xa55a0003)
    ensure
      Thread.current[:hearth_frame_type] = nil
    end

    def reopen(_log = nil)
      self
    end

    def close
    end
  end

  # Records of text, with the request ID.
  class TextFormatter < Logger::Formatter
    def call(severity, time, progname, msg)
      record = format('%s, [%s #%d] %5s %s -- %s: %s', severity[0], format_datetime(time), $$, severity, $_global_aws_request_id, progname, msg2str(msg))
      "#{record.encode('UTF-8', invalid: :replace, undef: :replace, replace: "\ufffd")}\n"
    end
  end

  # Records of JSON, for functions whose log format is that.
  class JsonFormatter < Logger::Formatter
    def call(severity, time, progname, msg)
      Thread.current[:hearth_frame_type] = LogDevice::TYPES.fetch(severity, 0xa55a0002)
      error = msg.is_a?(Exception)
      record = {
        timestamp: time.utc.strftime('%Y-%m-%dT%H:%M:%S.%6NZ'),
        level: severity,
        message: text(error ? msg.message : msg2str(msg)),
        requestId: $_global_aws_request_id,
        logger: progname && text(progname)
      }
      record.delete(:logger) if record[:logger].to_s.empty?
      if error
        record.update(errorType: msg.class.to_s, errorMessage: text(msg.message), stackTrace: Array(msg.backtrace).map { |l| text(l) }, location: location(msg))
      end
      "#{JSON.generate(record.compact)}\n"
    end

    private

    def location(error)
      first = error.backtrace&.first
      return if first.nil?

      first = text(first)
      (m = /\A(.+):(\d+):in [`'](.+)'\z/.match(first)) ? "#{m[1]}:#{m[3]}:#{m[2]}" : first
    end

    def text(value)
      value.to_s.encode('UTF-8', invalid: :replace, undef: :replace, replace: "\ufffd")
    end
  end

  # Put before Logger: a logger of nothing, of standard output or of standard error writes records.
  module LambdaLogger
    JSON_FORMAT = ENV['AWS_LAMBDA_LOG_FORMAT'].to_s.casecmp?('JSON')
    LEVEL = { 'TRACE' => 'DEBUG' }.fetch(ENV['AWS_LAMBDA_LOG_LEVEL'].to_s.upcase, ENV['AWS_LAMBDA_LOG_LEVEL'])

    def initialize(logdev = nil, *args, **options)
      if !logdev || logdev == $stdout || logdev == $stderr
        logdev = LogDevice.new
        formatter = (JSON_FORMAT ? JsonFormatter : TextFormatter).new
      end
      options[:level] = LEVEL if LEVEL && !LEVEL.empty? && !options.key?(:level)
      super(logdev, *args, **options)
      return unless formatter

      formatter.datetime_format = options[:datetime_format]
      @default_formatter = formatter
    end
  end
end

Logger.prepend(Hearth::LambdaLogger)
