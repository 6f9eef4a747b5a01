# frozen_string_literal: true

# The function's side: its context, its handler, its errors, the loop over events.

# These are there without a require, as in AWS's runtime.
autoload :Logger, 'logger'
autoload :Net, 'net/http'
autoload :StringIO, 'stringio'
autoload :URI, 'uri'

# An event as it came: a handler's event is made of it, its head is in named fields.
class LambdaRequest
  attr_reader :body

  def initialize(head, body)
    @head = head # by lower-case header names of the Runtime API; absent ones are nil or empty
    @body = body
  end

  def [](name)
    value = @head[name.downcase]
    value unless value.nil? || value.empty?
  end
end

# The context that a handler gets.
class LambdaContext
  attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name,
              :memory_limit_in_mb, :function_version, :identity, :client_context, :deadline_ms, :tenant_id

  def initialize(request)
    @clock_diff = clock(Process::CLOCK_REALTIME) - clock(Process::CLOCK_MONOTONIC)
    @deadline_ms = request['Lambda-Runtime-Deadline-Ms'].to_i
    @aws_request_id = request['Lambda-Runtime-Aws-Request-Id']
    @invoked_function_arn = request['Lambda-Runtime-Invoked-Function-Arn']
    @log_group_name = ENV['AWS_LAMBDA_LOG_GROUP_NAME']
    @log_stream_name = ENV['AWS_LAMBDA_LOG_STREAM_NAME']
    @function_name = ENV['AWS_LAMBDA_FUNCTION_NAME']
    @memory_limit_in_mb = ENV['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']
    @function_version = ENV['AWS_LAMBDA_FUNCTION_VERSION']
    identity = request['Lambda-Runtime-Cognito-Identity']
    client = request['Lambda-Runtime-Client-Context']
    @identity = JSON.parse(identity) if identity
    @client_context = JSON.parse(client) if client
    @tenant_id = request['Lambda-Runtime-Aws-Tenant-Id']
  end

  def get_remaining_time_in_millis
    [@deadline_ms - clock(Process::CLOCK_MONOTONIC) - @clock_diff, 0].max
  end

  private

  def clock(id)
    Process.clock_gettime(id, :millisecond)
  end
end

module AwsLambda
  # How events and answers are converted; a function may redefine both.
  class Marshaller
    class << self
      def marshall_request(request)
        request['Content-Type'] == 'application/json' ? JSON.parse(request.body) : request.body
      end

      def marshall_response(response)
        # Nothing can be a StringIO before that class is loaded.
        stream = IO === response || (!Object.autoload?(:StringIO) && StringIO === response)
        stream ? [response, 'application/unknown'] : response.to_json
      end
    end
  end
end

module Hearth
  OWN = File.dirname(__FILE__, 2) + '/'

  # What went wrong, as it is reported.
  class Failure
    # Types that are reported by name; all others are the user's.
    NAMED = %w[ArgumentError NoMethodError Exception StandardError NameError LoadError SystemExit SystemStackError].freeze

    def initialize(error, phase)
      @error = error
      @type = "#{phase}<#{error.class}>"
    end

    def type
      NAMED.include?(@error.class.to_s) ? @type : 'Function<UserException>'
    end

    def payload
      { errorMessage: text(@error.message), errorType: @type, stackTrace: trace }
    end

    def log(message)
      Hearth.print_record("#{message}\n")
      Hearth.print_record("#{JSON.pretty_generate(payload)}\n")
    end

    private

    # The frames of the function, without the runtime's own below them.
    def trace
      frames = @error.backtrace_locations || []
      frames.first(100).take_while { |f| !f.to_s.start_with?(OWN) }.map { |f| text(f.to_s) }
    end

    # JSON takes only UTF-8.
    def text(s)
      s = s.to_s
      return s if s.encoding == Encoding::UTF_8 && s.valid_encoding?

      s = s.dup.force_encoding(Encoding::UTF_8) if s.encoding == Encoding::BINARY
      s.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub
    end
  end

  # The method that _HANDLER names. Functions at the top of a file are called on an instance of it.
  class Handler
    def initialize(name)
      parts = name.split('.')
      unless [2, 3].include?(parts.size)
        raise ArgumentError, "Invalid handler #{parts}, must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where FILENAME " \
                             'corresponds with an existing Ruby source file FILENAME.rb, CLASS is an optional module/class namespace ' \
                             'and METHOD is a callable method. If using CLASS, METHOD must be a class-level method.'
      end
      @class = parts[1] if parts.size == 3
      @method = parts.last
      require parts.first
    end

    def call(event, context)
      target = @class ? Kernel.const_get(@class) : self
      AwsLambda::Marshaller.marshall_response(target.__send__(@method, event: event, context: context))
    end
  end

  class << self
    attr_reader :telemetry # the pipe for log records, or nil

    def run
      @telemetry = open_telemetry(ENV.delete('_LAMBDA_TELEMETRY_LOG_FD'))
      connection = connect
      root = ENV['LAMBDA_TASK_ROOT'] || Dir.pwd
      $LOAD_PATH.unshift(root) unless $LOAD_PATH.include?(root)
      $LOAD_PATH.unshift(File.join(__dir__, 'front'))
      begin
        handler = Handler.new(ENV['_HANDLER'].to_s)
      rescue Exception => e # Whatever it is, the function can't run.
        failure = Failure.new(e, 'Init')
        failure.log("Init error when loading handler #{ENV['_HANDLER']}")
        connection.fail_init(failure)
        exit!(252)
      end
      serve(connection, handler)
    end

    # Writes one log record, of several lines or not.
    def print_record(text, type = 0xa55a0003)
      if @telemetry.nil? || @telemetry.closed?
        $stdout.write(text)
      else
        text = text.b
        @telemetry.write([type, text.bytesize, Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)].pack('L>L>Q>') << text)
      end
    end

    private

    def open_telemetry(fd)
      return if fd.nil?

      pipe = IO.for_fd(Integer(fd), 'wb')
      pipe.sync = true
      pipe.close_on_exec = true
      # A record of several lines stays one.
      Kernel.module_eval do
        def puts(*values)
          text = values.flatten.map { |v| v.to_s.encode('UTF-8') }.join("\n")
          text << "\n" unless text.end_with?("\n")
          Hearth.print_record(text)
          nil
        end
      end
      pipe
    rescue ArgumentError, SystemCallError
      nil # A wrapper has closed it: standard output takes all.
    end

    # Chooses between the framed socket and the Runtime API.
    def connect
      fd = ENV.delete('_HEARTH_FD')
      api = ENV.delete('_HEARTH_RUNTIME_API')
      ENV.delete('_HEARTH_OPT')
      if fd && api == ENV['AWS_LAMBDA_RUNTIME_API']
        begin
          require_relative 'framed'
          return Framed.new(Integer(fd))
        rescue ArgumentError, SystemCallError
          nil # A wrapper has closed it.
        end
      end
      require_relative 'http'
      Http.new(ENV.fetch('AWS_LAMBDA_RUNTIME_API'))
    end

    def serve(connection, handler)
      loop do
        request = receive(connection)
        exit(0) if request.nil? # The environment is going.
        $_global_aws_request_id = id = request['Lambda-Runtime-Aws-Request-Id']
        ENV['_X_AMZN_TRACE_ID'] = request['Lambda-Runtime-Trace-Id']
        answer = type = failure = last = nil
        begin
          begin
            event = AwsLambda::Marshaller.marshall_request(request)
            context = LambdaContext.new(request)
          rescue StandardError => e
            failure = Failure.new(e, 'Runtime')
            failure.log('Error raised before the handler method')
          else
            answer, type = handler.call(event, context)
            answer = answer.read if type == 'application/unknown'
          end
        rescue NameError => e # NoMethodError is one
          last = e
        rescue StandardError => e
          failure = Failure.new(e, 'Function')
          failure.log('Error raised from handler method')
        rescue Exception => e # exit, a signal, no memory: the process is not to be used again
          last = e
        end
        if last
          failure = Failure.new(last, 'Function')
          failure.log('Critical exception from handler')
          connection.fail(id, failure, last: true)
          exit!(flush_exit)
        elsif failure
          connection.fail(id, failure)
        else
          connection.respond(id, answer.to_s, type || 'application/json')
        end
      end
    end

    def receive(connection)
      connection.receive
    rescue SignalException => e
      print_record("Next invocation HTTP request from the runtime interface client was interrupted with a #{e} SIGNAL, gracefully shutting down.\n")
      exit(0)
    end

    # Runs what the function has for its end and returns the status of a critical exception.
    def flush_exit
      $stdout.flush
      $stderr.flush
      255
    end
  end
end
