package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"
)

// failure is how an INIT or an event failed for reasons other than an error
// that the function returned.
type failure struct {
	Type    string // AWS's error type
	Payload []byte // JSON, or nil: made of Type and Text for the request
	Text    string // "Runtime exited with error: exit status 1"
	Status  string // "error" or "timeout"
}

// errGone is the failure of an environment that is being shut down.
var errGone = &failure{}

const typeTimeout = "Sandbox.Timedout"

var timedOut = &failure{Type: typeTimeout, Status: statusTimeout}

const (
	statusSuccess = "success"
	statusError   = "error"
	statusTimeout = "timeout"
)

// payload returns the JSON that the caller of request gets.
func (f *failure) payload(request string) []byte {
	if f.Payload != nil {
		return f.Payload
	}
	return errorJSON(f.Type, "RequestId: "+request+" Error: "+f.Text)
}

func errorJSON(errorType, message string) []byte {
	b, err := json.Marshal(struct {
		T string `json:"errorType"`
		M string `json:"errorMessage"`
	}{errorType, message})
	if err != nil {
		panic("agent: two strings always marshal: " + err.Error())
	}
	return b
}

// timeoutText words a timeout as AWS does.
func timeoutText(d time.Duration) string {
	return fmt.Sprintf("Task timed out after %.2f seconds", d.Seconds())
}

// exitText words the end of a process.
func exitText(s ExitStatus, what string) string {
	switch {
	case s.OOM:
		return what + "signal: killed"
	case s.Signal != "":
		return what + "signal: " + s.Signal
	}
	return fmt.Sprintf("%sexit status %d", what, s.Code)
}

// runtimeExit is the failure of a runtime that ended by itself.
func runtimeExit(s ExitStatus) *failure {
	f := &failure{Type: "Runtime.ExitError", Status: statusError, Text: "Runtime exited without providing a reason"}
	if s.OOM {
		f.Type = "Runtime.OutOfMemory"
	}
	if s.OOM || s.Signal != "" || s.Code != 0 {
		f.Text = exitText(s, "Runtime exited with error: ")
	}
	return f
}

// extensionExit is the failure of an extension that ended by itself.
func extensionExit(s ExitStatus) *failure {
	f := &failure{Type: "Extension.Crash", Status: statusError, Text: "exit code 0"}
	if s.OOM || s.Signal != "" || s.Code != 0 {
		f.Text = exitText(s, "")
	}
	return f
}

// notStarted is the failure of a runtime whose process could not be started.
func (a *Agent) notStarted(err error) *failure {
	f := &failure{Type: "Runtime.InvalidEntrypoint", Status: statusError}
	path := a.spec.Command[0]
	var errno syscall.Errno
	switch {
	case strings.HasPrefix(a.spec.Runtime, "provided") && errors.Is(err, fs.ErrNotExist):
		f.Text = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
	case errors.As(err, &errno):
		f.Text = "fork/exec " + path + ": " + errno.Error()
	default:
		f.Text = err.Error()
	}
	return f
}

// tooLarge is the error of a response that is larger than limit.
func tooLarge(limit int) []byte {
	return errorJSON(typeTooLarge, fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", limit))
}

const typeTooLarge = "Function.ResponseSizeTooLarge"

// reportType is what the platform's reports say for an error type that a
// runtime gave: AWS passes on those of the forms Runtime.X and Function.X.
func reportType(t string) string {
	for _, prefix := range [...]string{"Runtime.", "Function.", "Sandbox.", "Extension."} {
		if rest, ok := strings.CutPrefix(t, prefix); ok && len(rest) > 1 && rest[0] >= 'A' && rest[0] <= 'Z' {
			return t
		}
	}
	if strings.HasPrefix(t, "Function.") {
		return "Function.Unknown"
	}
	return "Runtime.Unknown"
}
