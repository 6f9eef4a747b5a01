package instance

import "time"

// Spec is everything an agent needs to run a function. It is made by the
// backend from a deployment, and crosses the wire to remote agents as JSON.
type Spec struct {
	FunctionName    string
	FunctionVersion string // "$LATEST" or a number
	FunctionARN     string // unqualified
	AccountID       string
	Region          string
	Runtime         string // "python3.13"; "" for images
	// RuntimeVersionARN is what INIT_START names, or "".
	RuntimeVersionARN string
	Handler           string
	MemoryMB          int
	EphemeralMB       int
	Timeout           time.Duration
	// InitTimeout bounds INIT: 10 s on demand, more for provisioned
	// concurrency and SnapStart. 0 means 10 s.
	InitTimeout time.Duration
	// InitType is "on-demand", "provisioned-concurrency", "snap-start" or
	// "lambda-managed-instances"; "" means on-demand.
	InitType string
	// MaxConcurrency is how many events the environment serves at once
	// (AWS_LAMBDA_MAX_CONCURRENCY). 0 and 1 mean one at a time.
	MaxConcurrency int

	// Command starts the runtime. Environment is complete but for what the agent itself
	// sets: AWS_LAMBDA_RUNTIME_API, _LAMBDA_TELEMETRY_LOG_FD, AWS_LAMBDA_INITIALIZATION_TYPE and
	// the names of Hearth's framed protocol (docs/runtimes.md).
	Command     []string
	WorkDir     string
	Environment map[string]string // as the runtime sees it
	// ExtensionEnvironment is what external extensions see instead: AWS gives
	// them no handler and no runtime's names.
	ExtensionEnvironment map[string]string
	// ExtensionsDir holds external extensions, one executable each: "/opt/extensions",
	// or where the process backend put it. "" means none.
	ExtensionsDir string

	// Forward are connections that the agent carries to the server's side: from
	// an address that it listens at inside the environment (127.0.0.1:PORT) to one
	// that the server connects to.
	Forward map[string]string

	LogGroup    string
	LogStream   string
	LogFormat   string // "Text" or "JSON"
	AppLogLevel string // JSON only: TRACE DEBUG INFO WARN ERROR FATAL
	SysLogLevel string // JSON only: DEBUG INFO WARN
	Tracing     string // "Active" or "PassThrough"

	// StreamRate paces streamed responses after their first 6 MB, as AWS does
	// (2 MB/s): bytes a second. 0 does not.
	StreamRate int64
	// PauseIdle stops the environment's processes between events.
	PauseIdle bool
	// DebugPauseClock stops the deadline's clock while a debugger is attached.
	DebugPauseClock bool
}
