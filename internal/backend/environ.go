package backend

import (
	"maps"
	"path"
	"strconv"
	"strings"
)

// Access is what functions get to reach AWS's APIs.
type Access struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	// Endpoints are AWS_ENDPOINT_URL variables, in a form that works from where
	// the function runs.
	Endpoints map[string]string
}

// Paths are where an instance's processes see its parts.
type Paths struct {
	TaskRoot   string // "/var/task"
	RuntimeDir string // "/var/runtime"
	Opt        string // "/opt"
	System     string // what PATH begins with, e.g. "/usr/local/bin:/usr/bin/:/bin"
}

// Environ returns the environment that a runtime starts with, but for what the
// agent adds (see instance.Spec): AWS's own variables, over the function's
// where AWS reserves their names, under them elsewhere. more is what the
// language's runtime needs; the function's own variables win over it.
//
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func Environ(d Deployment, stream string, p Paths, a Access, more map[string]string) map[string]string {
	env := map[string]string{
		"LANG": "en_US.UTF-8",
		"TZ":   ":UTC",
		"PATH": p.System + ":" + path.Join(p.Opt, "bin"),
		// AWS begins with /lib64:/usr/lib64, where a machine's own interpreter
		// might find other libraries than those it was built with.
		"LD_LIBRARY_PATH": strings.Join([]string{p.RuntimeDir, path.Join(p.RuntimeDir, "lib"), p.TaskRoot, path.Join(p.TaskRoot, "lib"), path.Join(p.Opt, "lib")}, ":"),
	}
	maps.Copy(env, a.Endpoints)
	maps.Copy(env, more)
	for k, v := range d.Environment {
		if !reserved[k] {
			env[k] = v
		}
	}
	if d.Runtime != "" {
		env["_HANDLER"] = d.Handler
	}
	for k, v := range map[string]string{
		"AWS_DEFAULT_REGION":              d.Region,
		"AWS_REGION":                      d.Region,
		"AWS_ACCESS_KEY_ID":               a.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY":           a.SecretAccessKey,
		"AWS_SESSION_TOKEN":               a.SessionToken,
		"AWS_LAMBDA_FUNCTION_NAME":        d.Function,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(d.MemoryMB),
		"AWS_LAMBDA_FUNCTION_VERSION":     d.Version,
		"AWS_LAMBDA_LOG_GROUP_NAME":       d.LogGroup,
		"AWS_LAMBDA_LOG_STREAM_NAME":      stream,
		"AWS_XRAY_CONTEXT_MISSING":        "LOG_ERROR",
		"AWS_XRAY_DAEMON_ADDRESS":         "127.0.0.1:2000",
		"_AWS_XRAY_DAEMON_ADDRESS":        "127.0.0.1",
		"_AWS_XRAY_DAEMON_PORT":           "2000",
		"LAMBDA_TASK_ROOT":                p.TaskRoot,
		"LAMBDA_RUNTIME_DIR":              p.RuntimeDir,
	} {
		if v != "" {
			env[k] = v
		}
	}
	if d.LogFormat == "JSON" {
		env["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
		env["AWS_LAMBDA_LOG_LEVEL"] = d.AppLogLevel
		if d.AppLogLevel == "" {
			env["AWS_LAMBDA_LOG_LEVEL"] = "INFO"
		}
	} else {
		env["AWS_LAMBDA_LOG_FORMAT"] = "Text"
	}
	return env
}

// reserved names can't be set by a function's configuration.
var reserved = map[string]bool{}

func init() {
	for _, k := range strings.Fields(`_HANDLER _X_AMZN_TRACE_ID AWS_DEFAULT_REGION AWS_REGION AWS_EXECUTION_ENV
		AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_FUNCTION_VERSION AWS_LAMBDA_INITIALIZATION_TYPE
		AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME AWS_ACCESS_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
		AWS_LAMBDA_RUNTIME_API LAMBDA_TASK_ROOT LAMBDA_RUNTIME_DIR AWS_LAMBDA_MAX_CONCURRENCY AWS_LAMBDA_METADATA_API AWS_LAMBDA_METADATA_TOKEN
		_HEARTH_FD _HEARTH_RUNTIME_API _LAMBDA_TELEMETRY_LOG_FD`) {
		reserved[k] = true
	}
}

// ExtensionEnviron returns what external extensions see of env: AWS gives them
// no handler, no code and no runtime.
func ExtensionEnviron(env map[string]string) map[string]string {
	out := maps.Clone(env)
	for _, k := range strings.Fields(`_HANDLER AWS_EXECUTION_ENV AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME
		AWS_XRAY_CONTEXT_MISSING AWS_XRAY_DAEMON_ADDRESS _AWS_XRAY_DAEMON_ADDRESS _AWS_XRAY_DAEMON_PORT LAMBDA_RUNTIME_DIR LAMBDA_TASK_ROOT
		AWS_LAMBDA_LOG_FORMAT AWS_LAMBDA_LOG_LEVEL`) {
		delete(out, k)
	}
	return out
}
