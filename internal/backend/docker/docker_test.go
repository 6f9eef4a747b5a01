package docker

import (
	"strings"
	"testing"
)

// A zip function runs in its runtime's image, with Lambda's environment, as nobody in particular.
func TestFunction(t *testing.T) {
	engines(t, func(t *testing.T, open func(*testing.T) *Engine) {
		f := newFixture(t, open(t))
		in, logs := f.launch(f.deployment())
		if got := ask[map[string]any](t, in, `{"a": 1}`); got["a"] != 1.0 {
			t.Errorf("answer = %v, want the event", got)
		}
		id := ask[[]any](t, in, `{"do": "id"}`)
		if id[0] != 993.0 || id[1] != 990.0 || id[2] != "/var/task" || !strings.HasPrefix(id[3].(string), "/hearth/bin/hearth-agent serve") {
			t.Errorf("user, group, folder, PID 1 = %v, want 993, 990, /var/task, the agent", id)
		}
		env := ask[map[string]string](t, in, `{"do": "env"}`)
		for k, want := range map[string]string{
			"_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
			"AWS_LAMBDA_FUNCTION_NAME": "docker-test", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_REGION": "us-east-1",
		} {
			if env[k] != want {
				t.Errorf("%s = %q, want %q", k, env[k], want)
			}
		}
		ask[string](t, in, `{"do": "print", "text": "something printed"}`)
		f.terminate(in) // after which the log is whole; before, it may be on its way
		if !strings.Contains(logs.String(), "something printed") {
			t.Errorf("log = %s, want what the function printed", logs)
		}
		f.terminate(in)
	})
}
