// Package invoke takes an event from a qualifier to its answer.
package invoke

import (
	"context"

	"github.com/hearth-run/hearth/internal/instance"
)

// Request is one Invoke or InvokeWithResponseStream, decoded and not yet checked.
// The account, region and request ID are those of awsapi.RequestFrom(ctx).
type Request struct {
	Function      string // a name, partial ARN or ARN, as the client gave it
	Qualifier     string // or ""
	Type          string // "RequestResponse", "Event", "DryRun", or "" for the first
	Payload       []byte
	LogTail       bool
	ClientContext string // decoded JSON
	TraceID       string
	TenantID      string
	Stream        bool          // InvokeWithResponseStream
	Sink          instance.Sink // of a streamed response
}

// Response is the answer of a function.
type Response struct {
	Status          int // 200, 202, 204
	ExecutedVersion string
	Payload         []byte
	ContentType     string
	FunctionError   instance.FunctionError
	ErrorType       string // for a stream that broke after its first byte
	ErrorMessage    string
	LogTail         []byte
	TraceID         string // to be returned in X-Amzn-Trace-Id
}

// Invoker answers invocations. Errors are *awsapi.Error, and mean that the function did not run.
type Invoker interface {
	Invoke(ctx context.Context, r Request) (*Response, error)
}
