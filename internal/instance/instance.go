// Package instance is what a Hearth server and the agent of an execution
// environment say to each other: events, answers, reports, log records, states
// and error classes.
//
// The life of an instance, seen by the server:
//
//	Launch ──▶ INIT ──▶ idle ◀──▶ busy ──▶ ended
//	            │                  │
//	            └── Ready closes   └── Settled closes
//
// Ready closes when the first INIT is over, well or badly: a failed INIT is
// tried again as part of the first event, as AWS does, so that event must be
// handed over either way. After a crash or a timeout the agent initialises
// again in place; only Ended says that the instance takes no more events.
package instance

import (
	"context"
	"errors"
	"io"
	"time"
)

// Limits of payloads, in bytes, as AWS sets them.
const (
	MaxEventSize    = 6_291_456 // a synchronous event
	MaxAsyncSize    = 1_048_576 // an asynchronous event
	MaxResponseSize = 6_291_556 // a buffered response
	MaxStreamedSize = 200 << 20 // a streamed response
	LogTailSize     = 4096      // what LogType=Tail returns of an invocation's log
)

// Event is one invocation, as the function sees it.
// The receiver must not change it; Payload stays the caller's.
type Event struct {
	RequestID       string
	Payload         []byte        // valid JSON
	Timeout         time.Duration // the function's; counted by the agent from hand-over to the runtime
	FunctionARN     string        // the ARN invoked, with its qualifier if it had one
	TraceID         string        // X-Ray header: "Root=…;Parent=…;Sampled=…", or ""
	ClientContext   string        // JSON, or ""
	CognitoIdentity string        // JSON, or ""
	TenantID        string        // or ""
	Stream          bool          // the caller takes a streamed response; the limit is MaxStreamedSize
	Tail            bool          // wait for the report and return the log's tail
}

// Sink takes a response as it is produced. The agent calls it from one
// goroutine at a time, and not after Invoke has returned.
type Sink interface {
	// Begin is called once, before the first Write, with the content type that
	// the runtime gave ("application/json" when it gave none).
	Begin(contentType string) error
	// Write takes the next bytes; an error means that the caller is gone, after
	// which the rest of the response is read and dropped.
	io.Writer
}

// FunctionError is how a function failed, as in the X-Amz-Function-Error header.
type FunctionError string

const (
	NoError   FunctionError = ""
	Handled   FunctionError = "Handled"
	Unhandled FunctionError = "Unhandled"
)

// Result is the answer to an event. The receiver owns it.
type Result struct {
	ContentType   string        // of Payload
	Payload       []byte        // the response, or the error's JSON; empty when a Sink took the response
	FunctionError FunctionError // Unhandled for whatever the function or its environment did wrong
	ErrorType     string        // e.g. "Runtime.ExitError", "Sandbox.Timedout", or the function's own
	ErrorMessage  string        // set with ErrorType when a stream broke after its first byte
	LogTail       []byte        // the last LogTailSize bytes of this invocation's log, if Event.Tail
	Report        Report        // complete only once Settled is closed, unless Event.Tail was set
	// Settled is closed when the instance can take its next event (or has
	// ended): the runtime and all extensions are done, or were reset. It is nil
	// when that is already so.
	Settled <-chan struct{}
}

// Report is what the REPORT line says.
type Report struct {
	RequestID       string
	Duration        time.Duration
	BilledDuration  time.Duration // whole milliseconds, rounded up, INIT included
	InitDuration    time.Duration // 0 when this event did not follow an INIT
	RestoreDuration time.Duration
	MemorySize      int    // MB, configured
	MaxMemoryUsed   int    // MB, measured
	Status          string // "success", "error", "timeout", "failure"
	ErrorType       string
}

// Agent is one execution environment as the server uses it. Its methods may be
// called concurrently; Invoke at most as often at once as the function's
// configured concurrency per environment allows (1 unless it says more).
type Agent interface {
	// Invoke hands over e and returns the function's answer; failures of the
	// function are answers. With e.Stream the response goes to sink as it
	// comes (sink is nil otherwise), and errors before its first byte are still
	// in the Result.
	//
	// ctx bounds the caller's interest, not the event: when it ends, Invoke
	// returns its error at once, but the function runs on to its end or timeout.
	//
	// An error for which errors.Is(err, ErrNotHandedOver) holds means that the
	// runtime surely has not seen the event, so it may be tried on another
	// instance. No other error means that.
	Invoke(ctx context.Context, e *Event, sink Sink) (*Result, error)

	// Ready is closed when the first INIT has ended, well or badly.
	Ready() <-chan struct{}

	// Ended is closed when the instance can take no more events; Reason then
	// says why.
	Ended() <-chan struct{}

	// Reason says why the instance ended. Only valid after Ended is closed.
	Reason() EndReason

	// Shutdown runs the SHUTDOWN phase with its windows and ends all processes.
	// It may be called more than once, and returns when all is over or ctx ends;
	// after that nothing of the function runs, in either case.
	Shutdown(ctx context.Context) error
}

// EndReason says why an instance ended.
type EndReason struct {
	Kind     EndKind
	ExitCode int    // of the process whose end ended the instance, or -1
	Signal   string // "killed", or ""
	Detail   string // for the operator: the tail of what it printed, the engine's words
}

// EndKind classes the ends of instances.
type EndKind string

const (
	EndShutdown    EndKind = "shutdown"    // asked for
	EndOutOfMemory EndKind = "outOfMemory" // killed for memory as a whole
	EndCrash       EndKind = "crash"       // the agent or its container died
	EndLost        EndKind = "lost"        // the connection or the engine is gone
	EndInitFailed  EndKind = "initFailed"  // INIT failed, and so did the event's own INIT
)

// Errors that callers of an Agent act on.
var (
	// ErrNotHandedOver: the runtime surely has not seen the event. It must not
	// be returned when the event may have reached the runtime.
	ErrNotHandedOver = errors.New("event was not handed over")
	// ErrEnded: the instance ended while it had the event, in a way that is no
	// answer of the function (its container or its connection is gone).
	ErrEnded = errors.New("instance ended")
)

// LogKind says who wrote a log record.
type LogKind string

const (
	LogFunction  LogKind = "function"
	LogExtension LogKind = "extension"
	LogPlatform  LogKind = "platform"
)

// LogRecord is one event of a function's log stream: a line, or a record of
// several lines that the runtime framed as one.
type LogRecord struct {
	Time      time.Time
	Kind      LogKind
	RequestID string // "" during INIT and between events
	Message   []byte // without the trailing newline; any bytes
}

// LogWriter takes an instance's log records in order. WriteLog may be called
// from several goroutines, must not keep r.Message after it returns, and
// returns quickly: whoever implements it drops or spills rather than block.
type LogWriter interface {
	WriteLog(r LogRecord)
}
