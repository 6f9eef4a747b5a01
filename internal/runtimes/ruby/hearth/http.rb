# frozen_string_literal: true

require 'net/http'

module Hearth
  # The Runtime API over one kept connection.
  class Http
    BASE = '/2018-06-01/runtime/'

    def initialize(address)
      host, _, port = address.rpartition(':')
      @http = Net::HTTP.new(host, Integer(port))
      @http.read_timeout = nil
      @http.keep_alive_timeout = 1 << 20
      @http.max_retries = 0
    end

    def receive
      @http.start unless @http.started?
      answer = get
      raise "the Runtime API answered #{answer.code} to invocation/next" unless answer.code == '200'

      fields = answer.each_header.to_h
      body = answer.body
      body.force_encoding(Encoding::UTF_8) if fields['content-type'] == 'application/json'
      LambdaRequest.new(fields, body)
    end

    def respond(id, body, content_type)
      post("invocation/#{id}/response", body, 'Content-Type' => content_type)
    end

    def fail(id, failure, last: false)
      report("invocation/#{id}/error", failure)
    end

    def fail_init(failure)
      report('init/error', failure)
    end

    private

    def get
      @http.get("#{BASE}invocation/next", 'Accept-Encoding' => 'identity')
    end

    def report(path, failure)
      post(path, failure.payload.to_json, 'Content-Type' => 'application/json', 'Lambda-Runtime-Function-Error-Type' => failure.type)
    end

    def post(path, body, headers)
      @http.start unless @http.started?
      answer = @http.post(BASE + path, body, headers)
      # 413: the answer was too large, which the agent has told the client.
      raise "the Runtime API answered #{answer.code} to #{path}" unless %w[202 413].include?(answer.code)
    end
  end
end
