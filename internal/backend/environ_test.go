package backend_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/internal/backend"
)

func TestEnviron(t *testing.T) {
	d := backend.Deployment{
		Region: "eu-west-1", Function: "f", Version: "7", Runtime: "python3.13", Handler: "m.handler", MemoryMB: 128,
		LogGroup: "/aws/lambda/f", LogFormat: "Text",
		Environment: map[string]string{
			"OWN": "1", "PYTHONPATH": "/mine", "AWS_ENDPOINT_URL": "http://mine", // its own win over what is not reserved
			"AWS_REGION": "mars", "_HANDLER": "x", "_HEARTH_FD": "9", "AWS_LAMBDA_RUNTIME_API": "x", "AWS_SESSION_TOKEN": "x", "_X_AMZN_TRACE_ID": "x",
		},
	}
	p := backend.Paths{TaskRoot: "/var/task", RuntimeDir: "/var/runtime", Opt: "/opt", System: "/usr/local/bin:/usr/bin/:/bin"}
	a := backend.Access{AccessKeyID: "key", SecretAccessKey: "secret", Endpoints: map[string]string{"AWS_ENDPOINT_URL": "http://ours", "AWS_ENDPOINT_URL_S3": "http://s3"}}
	got := backend.Environ(d, "2026/11/24/[7]abc", p, a, map[string]string{"PYTHONPATH": "/var/runtime", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"})
	want := map[string]string{
		"OWN": "1", "PYTHONPATH": "/mine", "AWS_ENDPOINT_URL": "http://mine", "AWS_ENDPOINT_URL_S3": "http://s3",
		"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13", "_HANDLER": "m.handler",
		"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "7", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
		"AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f", "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/24/[7]abc", "AWS_LAMBDA_LOG_FORMAT": "Text",
		"LANG": "en_US.UTF-8", "TZ": ":UTC", "LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime",
		"PATH":                     "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"LD_LIBRARY_PATH":          "/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
		"AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR", "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
		"_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1", "_AWS_XRAY_DAEMON_PORT": "2000",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Environ: (-want +got)\n%s", diff)
	}

	ext := backend.ExtensionEnviron(got)
	for _, k := range []string{"_HANDLER", "LAMBDA_TASK_ROOT", "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_STREAM_NAME"} {
		if v, ok := ext[k]; ok {
			t.Errorf("extensions see %s=%s", k, v)
		}
	}
	if ext["OWN"] != "1" || ext["AWS_REGION"] != "eu-west-1" {
		t.Errorf("extensions see OWN=%q AWS_REGION=%q", ext["OWN"], ext["AWS_REGION"])
	}
}
