// Package runtimestest runs small functions through a runtime client and
// records everything that comes out: answers, error payloads, log records, the
// exit. The same functions go through the clients that AWS publishes and through
// Hearth's own, over the framed socket and over HTTP, and the records are
// compared byte for byte.
//
//	want := runtimestest.Run(t, official, c, runtimestest.Mode{})
//	got := runtimestest.Run(t, ours, c, runtimestest.Mode{Framed: true})
//	runtimestest.Compare(t, c, want, got)
//
// The peer of the client is a Runtime API of this package's own, not Hearth's
// agent, so that a fault of one can't hide one of the other.
package runtimestest

// Case is a function and the events that it gets.
type Case struct {
	Name    string
	Files   map[string]string // below the task root
	Handler string
	Env     map[string]string // the function's own variables
	Events  []Event           // nil means one, "{}"
	// Setup finishes the task root, e.g. compiles it; nil means nothing.
	Setup func(dir string) error
	// Differs says why the records of Hearth's client are not the same as those
	// of AWS's, "" that they must be. A case that differs must still differ.
	Differs string
	// Drop removes parts of records (whole lines, if it matches them) that can't be
	// equal, e.g. frames of the client itself; it is applied to both.
	Drop string
}

// Event is an event and its head.
type Event struct {
	Payload         string // "" means "{}"
	ClientContext   string
	CognitoIdentity string
	TraceID         string
	TenantID        string
}

// Mode says how a client is connected.
type Mode struct {
	Framed    bool // Hearth's framed socket beside the Runtime API
	Telemetry bool // a pipe for framed log records (_LAMBDA_TELEMETRY_LOG_FD)
}

// Client is a runtime client.
type Client struct {
	Name string
	// Command returns what starts it for a function in the folder task, and
	// variables beside those of the function and of Lambda.
	Command func(c Case, task string) (args []string, env map[string]string)
}

// Record is all that came out of one run.
type Record struct {
	Answers []Answer
	Output  string // standard output and error, as one stream
	Frames  []Frame
	Exit    string // "exit status 1", or "" when it ran on to the end of the events
}

// Answer is a client's answer to an event, or to INIT.
type Answer struct {
	Kind        string // "response", "error", "init error", "stream"
	RequestID   string
	ContentType string
	ErrorType   string
	Body        string
	// of a stream that broke
	StreamErrorType string
	StreamErrorBody string
}

// Frame is a record from the telemetry pipe.
type Frame struct {
	Type    uint32
	Message string
}
