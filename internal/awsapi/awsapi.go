// Package awsapi is what all generated AWS wire packages share: the request's
// facts, the error shape, and small helpers for their pointer-typed members.
package awsapi

import (
	"context"
	"fmt"
)

// Request holds the facts of one API request that are not part of its input.
type Request struct {
	ID          string // x-amzn-RequestId
	Partition   string // "aws"
	AccountID   string // 12 digits
	Region      string
	AccessKeyID string // "" for unsigned requests
	BaseURL     string // how the client reached this server, e.g. "http://127.0.0.1:9001"
}

type requestKey struct{}

// WithRequest returns ctx with r attached.
func WithRequest(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestFrom returns the request that ctx belongs to. It panics when there is
// none: whoever calls a service from elsewhere attaches one.
func RequestFrom(ctx context.Context) *Request {
	return ctx.Value(requestKey{}).(*Request)
}

// Error is an AWS exception. Code, Status and what the client sees are exact;
// Cause is for the operator's log alone.
type Error struct {
	Code    string         // "ResourceNotFoundException"
	Status  int            // HTTP status
	Message string         // what the client sees
	Fault   string         // "User" or "Server": the Type member
	Fields  map[string]any // further members of the error's shape, by wire name
	Cause   error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s (%v)", e.Code, e.Message, e.Cause)
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// Ptr returns a pointer to v.
func Ptr[T any](v T) *T { return &v }

// Val returns *p, or the zero value when p is nil.
func Val[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Unimplemented is the answer to an operation that this server does not have.
// It is a refusal that names the operation, never a made-up success.
func Unimplemented(operation string) *Error {
	return &Error{
		Code:    "NotImplementedException",
		Status:  501,
		Fault:   "Server",
		Message: "Hearth does not implement the operation " + operation + " yet.",
	}
}
