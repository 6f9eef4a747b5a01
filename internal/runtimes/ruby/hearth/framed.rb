# frozen_string_literal: true

module Hearth
  # The agent's framed socket, as docs/runtimes.md lays it down.
  class Framed
    MAX_RESPONSE = 6_291_556
    HEAD = %w[
      lambda-runtime-aws-request-id lambda-runtime-deadline-ms lambda-runtime-invoked-function-arn lambda-runtime-trace-id
      lambda-runtime-client-context lambda-runtime-cognito-identity lambda-runtime-aws-tenant-id
    ].freeze

    def initialize(fd)
      @in = IO.for_fd(fd, 'rb')
      @in.close_on_exec = true
      @out = IO.for_fd(fd, 'wb', autoclose: false)
      @out.sync = true
    end

    # Waits for the next event; nil means that the environment is going.
    def receive
      unless @ready
        @ready = true
        write('N', '')
      end
      size = @in.read(4)
      return if size.nil? || size.bytesize < 4

      n = size.unpack1('L>')
      frame = @in.read(n)
      return if frame.nil? || frame.bytesize < n

      head = frame.unpack1('L>', offset: 1)
      values = frame.byteslice(5, head).force_encoding(Encoding::UTF_8).split("\0", -1)
      fields = HEAD.zip(values).to_h
      fields['content-type'] = 'application/json'
      LambdaRequest.new(fields, frame.byteslice(5 + head, n - 5 - head).force_encoding(Encoding::UTF_8))
    rescue Errno::ECONNRESET
      nil
    end

    def respond(_id, body, content_type)
      # One byte more than allowed is enough for the agent to refuse it.
      body = body.byteslice(0, MAX_RESPONSE + 1) if body.bytesize > MAX_RESPONSE
      content_type == 'application/json' ? write('R', body) : write('T', "#{content_type}\0".b << body.b)
    end

    def fail(_id, failure, last: false)
      write(last ? 'D' : 'F', "#{failure.type}\0#{failure.payload.to_json}")
    end

    def fail_init(failure)
      write('I', "#{failure.type}\0#{failure.payload.to_json}")
    end

    private

    def write(type, body)
      @out.write([1 + body.bytesize].pack('L>') << type << body.b)
    end
  end
end
