package lambda

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

func invalid(format string, args ...any) *awsapi.Error {
	return api.InvalidParameterValueException(fmt.Sprintf(format, args...))
}

func notFound(format string, args ...any) *awsapi.Error {
	return api.ResourceNotFoundException(fmt.Sprintf(format, args...))
}

func conflict(format string, args ...any) *awsapi.Error {
	return api.ResourceConflictException(fmt.Sprintf(format, args...))
}

// untyped returns e without its Type member: some of AWS's answers have none.
func untyped(e *awsapi.Error) *awsapi.Error {
	e.Fault = ""
	return e
}

// noSuchFunction is the answer for a function, version or alias that is not
// there, named as the request named it.
func noSuchFunction(f arn.Function) *awsapi.Error { return notFound("Function not found: %s", f.ARN()) }

func noSuchAlias(f arn.Function) *awsapi.Error {
	return notFound("Cannot find alias arn: %s", f.ARN())
}

// noSuchThing is AWS's answer where it does not say what is not there.
func noSuchThing() *awsapi.Error { return notFound("The resource you requested does not exist.") }

// Operations whose revision ID is to be asked for again, as AWS words it.
const (
	byFunction = "GetFunction/GetAlias"
	byPolicy   = "GetPolicy"
	byLayer    = "GetLayerPolicy"
)

// checkRevision compares the revision that a request expects, if it does, with the record's.
func checkRevision(want *string, have, operation string) error {
	if want == nil || *want == "" || *want == have {
		return nil
	}
	return api.PreconditionFailedException("The Revision Id provided does not match the latest Revision Id. Call the " + operation + " API to retrieve the latest Revision Id")
}

// or returns other if err is that a record was not found, and err itself otherwise.
func or(err error, other *awsapi.Error) error {
	if errors.Is(err, store.ErrNotFound) {
		return other
	}
	return err
}

// qualifiedNotAllowed is the answer of operations that take functions alone.
func qualifiedNotAllowed() *awsapi.Error {
	return invalid("This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.")
}

// number returns a version's number; those in records always have one.
func number(version string) int64 {
	n, _ := strconv.ParseInt(version, 10, 64)
	return n
}
