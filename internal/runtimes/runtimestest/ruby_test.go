package runtimestest

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/runtimes"
)

// AWS's Ruby client is in no registry that tests can use, so these cases state
// what AWS documents and what that client's sources do.
type rubyCase struct {
	Case
	// want are the answers: "kind body", or "kind errorType body"; bodies of errors
	// are compared without the folder of the function.
	want   []string
	output string // a pattern of all output, "" for any
	exit   string
}

func rb(name, code string, want ...string) rubyCase {
	return rubyCase{Case: Case{Name: name, Files: map[string]string{"app.rb": code}, Handler: "app.handler"}, want: want}
}

func (c rubyCase) on(payloads ...string) rubyCase {
	for _, p := range payloads {
		c.Events = append(c.Events, Event{Payload: p})
	}
	return c
}

func (c rubyCase) handler(h string) rubyCase   { c.Handler = h; return c }
func (c rubyCase) prints(re string) rubyCase   { c.output = re; return c }
func (c rubyCase) exits(how string) rubyCase   { c.exit = how; return c }
func (c rubyCase) env(kv ...string) rubyCase   { c.Case = c.Case.with(kv...); return c }
func (c rubyCase) and(n, text string) rubyCase { c.Files[n] = text; return c }

const rubyEcho = "def handler(event:, context:)\n  event\nend\n"

const id1 = "8476a536-e9f4-11e8-9739-000000000001"

var rubyCases = []rubyCase{
	rb("echo", rubyEcho, `response {"a":[1,2.5,null,true,"x"]}`, `response []`, `response "t"`, `response null`, `response 12345678901234567890`).
		on(`{"a":[1,2.5,null,true,"x"]}`, `[]`, `"t"`, `null`, `12345678901234567890`),
	rb("unicode", rubyEcho, "response \"😀 ключ \u2028\\u0000\\n\"").on(`"\ud83d\ude00 ключ \u2028\u0000\n"`),
	rb("class method", "module A\n  class B\n    def self.go(event:, context:)\n      [self.name, event]\n    end\n  end\nend\n", `response ["A::B",{}]`).handler("app.A::B.go"),
	rb("file in a folder", "", `response "there"`).and("lib/x.rb", "def go(event:, context:) = 'there'\n").handler("lib/x.go"),
	rb("nil", "def handler(event:, context:)\nend\n", `response null`),
	rb("own to_json", "class A\n  def to_json(*) = '{\"mine\":1}'\nend\ndef handler(event:, context:)\n  A.new\nend\n", `response {"mine":1}`),
	rb("object", "def handler(event:, context:)\n  [:sym, 1..2, {1 => nil}]\nend\n", `response ["sym","1..2",{"1":null}]`),
	rb("stream", "require 'stringio'\ndef handler(event:, context:)\n  StringIO.new(\"a\\0b\")\nend\n", "response application/unknown a\x00b"),
	rb("NaN", "def handler(event:, context:)\n  0.0 / 0\nend\n", `error Function<UserException> {"errorType":"Function<JSON::GeneratorError>"}`).prints("Error raised from handler method\n\\{\n  \"errorMessage\""),
	rb("context", `def handler(event:, context:)
  [context.aws_request_id, context.function_name, context.function_version, context.memory_limit_in_mb, context.log_group_name,
   context.invoked_function_arn, context.get_remaining_time_in_millis > 10000, context.deadline_ms > 0, context.identity, context.client_context,
   context.tenant_id, ENV['_X_AMZN_TRACE_ID'], $_global_aws_request_id == context.aws_request_id, ENV.keys.grep(/HEARTH|TELEMETRY/)]
end
`, `response ["`+id1+`","function","$LATEST","128","/aws/lambda/function","`+functionARN+`",true,true,{"cognitoIdentityId":"i"},{"custom":{"k":1}},"blue","Root=1",true,[]]`).
		events(Event{TraceID: "Root=1", TenantID: "blue", CognitoIdentity: `{"cognitoIdentityId":"i"}`, ClientContext: `{"custom":{"k":1}}`}),
	rb("error", "def handler(event:, context:)\n  raise 'bad ünï'\nend\n",
		`error Function<UserException> {"errorMessage":"bad ünï","errorType":"Function<RuntimeError>","stackTrace":["TASK/app.rb:2:in HANDLER"]}`,
		`error Function<UserException> {"errorMessage":"bad ünï","errorType":"Function<RuntimeError>","stackTrace":["TASK/app.rb:2:in HANDLER"]}`).on(`{}`, `{}`),
	rb("argument error", "def handler(event:, context:)\n  raise ArgumentError\nend\n", `error Function<ArgumentError> {"errorMessage":"ArgumentError","errorType":"Function<ArgumentError>","stackTrace":["TASK/app.rb:2:in HANDLER"]}`),
	rb("own error", "class Mine < StandardError; end\ndef deep\n  raise Mine, 'm'\nend\ndef handler(event:, context:)\n  deep\nend\n", `error Function<UserException> {"errorMessage":"m","errorType":"Function<Mine>"}`),
	rb("binary message", "def handler(event:, context:)\n  raise \"\\xff\".b\nend\n", `error Function<UserException> {"errorMessage":"`+"\ufffd"+`","errorType":"Function<RuntimeError>"}`),
	rb("no method", "def handler(event:, context:)\n  nil.missing\nend\n", `error Function<NoMethodError> {"errorType":"Function<NoMethodError>"}`).on(`{}`, `{}`).prints("Critical exception from handler").exits("exit status 255"),
	rb("exit", "def handler(event:, context:)\n  exit 3\nend\n", `error Function<SystemExit> {"errorMessage":"exit","errorType":"Function<SystemExit>"}`).exits("exit status 255"),
	rb("stack overflow", "def handler(event:, context:)\n  handler(event: event, context: context)\nend\n", `error Function<SystemStackError> {"errorMessage":"stack level too deep","errorType":"Function<SystemStackError>"}`).exits("exit status 255"),
	rb("wrong parameters", "def handler(event:)\nend\n", `error Function<ArgumentError> {"errorType":"Function<ArgumentError>"}`),
	rb("missing handler", "", `error Function<NoMethodError> {"errorType":"Function<NoMethodError>"}`).exits("exit status 255"),
	rb("missing class", "", `error Function<NameError> {"errorType":"Function<NameError>"}`).handler("app.Nope.x").exits("exit status 255"),
	rb("missing file", "", `init error Init<LoadError> {"errorMessage":"cannot load such file -- nope","errorType":"Init<LoadError>"}`).handler("nope.x").prints("Init error when loading handler nope.x").exits("exit status 252"),
	rb("bad handler name", "", `init error Init<ArgumentError> {"errorType":"Init<ArgumentError>"}`).handler("app").exits("exit status 252"),
	rb("syntax error", "def handler(\n", `init error Function<UserException> {"errorType":"Init<SyntaxError>"}`).exits("exit status 252"),
	rb("error at load", "raise 'no'\n", `init error Function<UserException> {"errorMessage":"no","errorType":"Init<RuntimeError>"}`).exits("exit status 252"),
	rb("exit at load", "exit 0\n", `init error Init<SystemExit> {"errorMessage":"exit","errorType":"Init<SystemExit>"}`).exits("exit status 252"),
	rb("deep event", rubyEcho, `error Function<UserException> {"errorType":"Runtime<JSON::NestingError>"}`, `response 1`).on(strings.Repeat("[", 200)+strings.Repeat("]", 200), "1"),
	rb("logger", "LOG = Logger.new($stdout)\nLOG.info('at load')\ndef handler(event:, context:)\n  LOG.warn(\"two\\nlines\")\n  LOG.error('mine') { 'block' }\n  Logger.new($stderr, level: :error).info('hidden')\n  puts 'put', ['flat', nil]\n  print \"printed\\n\"\n  1\nend\n", `response 1`).
		prints(`^I, \[\d{4}-\d\d-\d\dT[0-9:.]+ #\d+\]  INFO  -- : at load\nW, \[[^]]+\]  WARN ` + id1 + ` -- : two\nlines\nE, \[[^]]+\] ERROR ` + id1 + ` -- mine: block\n`),
	rb("logger as JSON", "require 'logger'\ndef handler(event:, context:)\n  l = Logger.new(STDOUT)\n  l.info('hidden')\n  l.warn({a: 1})\n  begin\n    raise 'x'\n  rescue => e\n    l.error(e)\n  end\n  1\nend\n", `response 1`).env("AWS_LAMBDA_LOG_FORMAT", "JSON", "AWS_LAMBDA_LOG_LEVEL", "WARN").
		prints(`^\{"timestamp":"[^"]+Z","level":"WARN","message":"[^"]+","requestId":"` + id1 + `"\}\n\{"timestamp":"[^"]+","level":"ERROR","message":"x","requestId":"[^"]+","errorType":"RuntimeError","errorMessage":"x","stackTrace":\[.*\],"location":"[^"]*app.rb:[^"]*handler:7"\}\n$`),
	rb("logger to a file", "require 'logger'\nrequire 'tempfile'\ndef handler(event:, context:)\n  f = Tempfile.new\n  Logger.new(f.path).info('x')\n  File.read(f.path)[/ INFO -- : x/]\nend\n", `response " INFO -- : x"`),
	rb("net/http without require", "def handler(event:, context:)\n  [Net::HTTP.name, URI('http://a/b').path, StringIO.new('x').read]\nend\n", `response ["Net::HTTP","/b","x"]`),
	rb("gems", "require 'mine'\ndef handler(event:, context:)\n  MINE\nend\n", `response "layer"`).and("ruby_lib/mine.rb", "MINE = 'layer'\n").env("RUBYLIB", "ruby_lib"),
	rb("threads", "def handler(event:, context:)\n  Thread.new { 'done' }.value\nend\n", `response "done"`),
	rb("large", "def handler(event:, context:)\n  event * 3\nend\n", `response "`+strings.Repeat("x", 3_000_000)+`"`).on(`"` + strings.Repeat("x", 1_000_000) + `"`),
	rb("child", "def handler(event:, context:)\n  `echo child; ls /proc/self/fd | wc -l`.lines.first\nend\n", `response "child\n"`),
	rb("own marshaller", "class AwsLambda::Marshaller\n  def self.marshall_request(r) = r.body\n  def self.marshall_response(r) = [r, 'text/plain']\nend\ndef handler(event:, context:)\n  event\nend\n", `response text/plain {"a":1}`).on(`{"a":1}`),
}

func (c rubyCase) events(e ...Event) rubyCase { c.Events = e; return c }

// TestRuby runs the cases on the Ruby of this machine, of whatever version.
func TestRuby(t *testing.T) {
	i, err := runtimes.Find(t.Context(), "ruby3.4")
	if err != nil {
		hearthtest.Skip(t, "ruby", err.Error())
	}
	ours := hearth(t, i)
	for _, c := range rubyCases {
		t.Run(c.Name, func(t *testing.T) {
			task := Task(t, c.Case)
			for _, mode := range []Mode{{}, {Framed: true}, {Framed: true, Telemetry: true}} {
				r := Run(t, ours, c.Case, task, mode)
				if diff := cmp.Diff(c.want, rubyAnswers(r, c.want, task)); diff != "" {
					t.Errorf("%+v (-want +got):\n%s", mode, diff)
				}
				output := r.Output
				for _, f := range r.Frames {
					output = output + f.Message
				}
				if mode.Telemetry && len(r.Frames) > 0 {
					output = strings.TrimPrefix(output, r.Output) // printed past Logger and puts
				}
				if c.output != "" && !regexp.MustCompile(c.output).MatchString(output) {
					t.Errorf("%+v: output %q, want %s", mode, output, c.output)
				}
				if r.Exit != c.exit {
					t.Errorf("%+v: exit %q, want %q", mode, r.Exit, c.exit)
				}
			}
		})
	}
}

// rubyAnswers words answers as cases do. What an expected error body leaves out
// is left out.
func rubyAnswers(r Record, want []string, task string) (got []string) {
	for n, a := range r.Answers {
		switch {
		case strings.HasSuffix(a.Kind, "error"):
			var members, expected map[string]any
			json.Unmarshal([]byte(a.Body), &members)
			if n < len(want) {
				json.Unmarshal([]byte(want[n][strings.Index(want[n], "{"):]), &expected)
			}
			var parts []string
			for _, name := range []string{"errorMessage", "errorType", "stackTrace"} {
				if _, ok := expected[name]; !ok {
					continue
				}
				var b strings.Builder
				e := json.NewEncoder(&b)
				e.SetEscapeHTML(false)
				e.Encode(members[name])
				parts = append(parts, `"`+name+`":`+strings.TrimSpace(b.String()))
			}
			body := strings.ReplaceAll("{"+strings.Join(parts, ",")+"}", task, "TASK")
			// Ruby 3.4 quotes and names methods in another way.
			body = regexp.MustCompile("in [`'](Object#|Kernel#)?handler'").ReplaceAllString(body, "in HANDLER")
			got = append(got, a.Kind+" "+a.ErrorType+" "+body)
		case a.ContentType != "application/json":
			got = append(got, a.Kind+" "+a.ContentType+" "+a.Body)
		default:
			got = append(got, a.Kind+" "+a.Body)
		}
	}
	return got
}
