package agent

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

const (
	maxExtensions    = 10
	maxExtensionName = 128
)

// extState is the state of an extension, with AWS's names.
type extState string

const (
	extStarted    extState = "Started"
	extRegistered extState = "Registered"
	extReady      extState = "Ready"
	extRunning    extState = "Running"
	extInitError  extState = "InitError"
	extExitError  extState = "ExitError"
	extExited     extState = "Exited"
	extLaunch     extState = "LaunchError"
)

// extension is one extension of a generation. The environment's mutex guards
// what may change.
type extension struct {
	name     string
	id       string // given when it registers
	external bool
	proc     Process // of an external one

	state     extState
	events    []string
	errorType string
	busy      bool      // has the round's event and has not asked for the next
	waiting   *httpConn // its connection that waits for an event
	pending   []byte    // the event it gets next
	said      bool      // the platform has reported it
}

func (x *extension) wants(event string) bool { return slices.Contains(x.events, event) }

// alive reports whether an external extension's process runs.
func (x *extension) alive() bool {
	if x.proc == nil {
		return false
	}
	select {
	case <-x.proc.Done():
		return false
	default:
		return true
	}
}

func (x *extension) close(e *environment) {
	e.mu.Lock()
	h := x.waiting
	x.waiting = nil
	e.mu.Unlock()
	if h != nil {
		h.c.Close()
	}
}

// startExtensions starts the external extensions.
func (e *environment) startExtensions() *failure {
	if !e.begin() {
		return errGone
	}
	defer e.starts.Unlock()
	a := e.a
	var names []string
	if a.spec.ExtensionsDir != "" {
		entries, err := os.ReadDir(a.cfg.ExtensionsDir)
		if err != nil && !os.IsNotExist(err) {
			a.log.Warn("extensions not listed", "function", a.spec.FunctionName, "err", err)
		}
		for _, entry := range entries {
			if !entry.IsDir() {
				names = append(names, entry.Name())
			}
		}
	}
	var env []string
	if len(names) > 0 {
		for k, v := range a.spec.ExtensionEnvironment {
			env = append(env, k+"="+v)
		}
		env = append(env, "AWS_LAMBDA_RUNTIME_API="+a.Addr(), "AWS_LAMBDA_INITIALIZATION_TYPE="+a.spec.InitType)
		sort.Strings(env)
	}
	// All of them exist before the first can register.
	for _, name := range names {
		e.exts = append(e.exts, &extension{name: name, external: true, state: extStarted})
	}
	if len(names) > maxExtensions {
		return &failure{Type: "Extension.TooManyExtensions", Status: statusError, Text: fmt.Sprintf("Extension limit (%d) reached", maxExtensions)}
	}
	for _, x := range e.exts {
		if f := e.startExtension(x, env); f != nil {
			return f
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.checkLocked()
	return nil
}

func (e *environment) startExtension(x *extension, env []string) *failure {
	a := e.a
	out, w, err := newPipe(a.out, instance.LogExtension, false)
	if err == nil {
		defer w.Close()
		e.pipes = append(e.pipes, out)
		var p Process
		p, err = e.start(Command{Name: x.name, Path: path.Join(a.spec.ExtensionsDir, x.name), Env: env, Dir: "/", Stdout: w, Stderr: w})
		if err == nil {
			e.mu.Lock()
			x.proc = p
			e.mu.Unlock()
			e.procs.Go(func() {
				<-p.Done()
				e.extensionExited(x, p.Exit())
			})
			return nil
		}
	}
	a.log.Warn("extension not started", "function", a.spec.FunctionName, "extension", x.name, "err", err)
	e.mu.Lock()
	defer e.mu.Unlock()
	x.state, x.errorType = extLaunch, "Extension.LaunchError"
	text := err.Error()
	if f := a.notStarted(err); strings.HasPrefix(f.Text, "fork/exec ") {
		_, errno, _ := strings.Cut(f.Text, ": ")
		text = "fork/exec " + path.Join(a.spec.ExtensionsDir, x.name) + ": " + errno
	}
	return &failure{Type: "Extension.LaunchError", Status: statusError, Text: text}
}

func (e *environment) extensionExited(x *extension, exit ExitStatus) {
	e.mu.Lock()
	f := extensionExit(exit)
	switch x.state {
	case extInitError:
		f.Type = "Extension.InitError"
	case extExitError:
		f.Type = "Extension.ExitError"
	default:
		x.errorType = f.Type
	}
	if !e.closing && x.state != extInitError && x.state != extExitError {
		x.state = extExited
	}
	e.mu.Unlock()
	e.fail(f)
}

// tell gives x an event: to the connection that waits for one, or to the next that comes.
func (e *environment) tell(x *extension, event []byte) {
	e.mu.Lock()
	h := x.waiting
	x.waiting = nil
	if h == nil {
		x.pending = event
		e.mu.Unlock()
		return
	}
	x.state = extRunning
	e.mu.Unlock()
	h.unparked()
	h.extensionEvent(event)
}

func (h *httpConn) extensionEvent(event []byte) error {
	return h.reply(200, "application/json", event, headerField{"Lambda-Extension-Event-Identifier", newUUID()})
}

func invokeEvent(ev *instance.Event, deadline time.Time) []byte {
	type tracing struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	b, _ := json.Marshal(struct {
		EventType          string  `json:"eventType"`
		DeadlineMs         int64   `json:"deadlineMs"`
		RequestID          string  `json:"requestId"`
		InvokedFunctionARN string  `json:"invokedFunctionArn"`
		Tracing            tracing `json:"tracing"`
	}{"INVOKE", deadline.UnixMilli(), ev.RequestID, ev.FunctionARN, tracing{"X-Amzn-Trace-Id", ev.TraceID}})
	return b
}

func shutdownEvent(reason string, deadline time.Time) []byte {
	return fmt.Appendf(nil, `{"eventType":"SHUTDOWN","shutdownReason":%q,"deadlineMs":%d}`, reason, deadline.UnixMilli())
}

// newUUID returns a random UUID.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F'):
			return false
		}
	}
	return true
}

const extensionPrefix = "/2020-01-01/extension/"

// extensionRoute answers requests of the Extensions API.
func (e *environment) extensionRoute(h *httpConn, r *httpRequest, what string) error {
	switch {
	case what == "register" && r.method == "POST":
		return e.register(h, r)
	case what == "event/next" && r.method == "GET":
		x, err := e.extension(h, r)
		if x == nil {
			return err
		}
		return e.extensionNext(h, x)
	case what == "init/error" && r.method == "POST":
		return e.extensionError(h, r, extInitError, "Extension.InitError")
	case what == "exit/error" && r.method == "POST":
		return e.extensionError(h, r, extExitError, "Extension.ExitError")
	case what == "register", what == "event/next", what == "init/error", what == "exit/error":
		return h.fail(405, "MethodNotAllowed", "method not allowed")
	}
	return h.notFound(r)
}

func (e *environment) register(h *httpConn, r *httpRequest) error {
	name := get(r.header, "Lambda-Extension-Name")
	if name == "" || len(name) > maxExtensionName {
		if name == "" {
			return h.fail(403, "Extension.InvalidExtensionName", "Empty extension name")
		}
		return h.fail(403, "Extension.InvalidExtensionName", "Extension name is too long")
	}
	body, err := r.bytes(1 << 20)
	if err == errTooLarge {
		return h.fail(403, "InvalidRequestFormat", "the request is too large")
	}
	if err != nil {
		return err
	}
	var req struct {
		Events            []string `json:"events"`
		ConfigurationKeys []string `json:"configurationKeys"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return h.fail(403, "InvalidRequestFormat", err.Error())
	}
	if len(req.ConfigurationKeys) > 0 {
		return h.fail(403, "InvalidRequestFormat", "configurationKeys are deprecated; use environment variables instead")
	}
	e.mu.Lock()
	var x *extension
	for _, known := range e.exts {
		if known.name == name {
			x = known
		}
	}
	external := x != nil && x.external
	status, message := "", ""
	for _, event := range req.Events {
		switch {
		case event != "INVOKE" && event != "SHUTDOWN", event == "INVOKE" && e.a.spec.MaxConcurrency > 1:
			status, message = "Extension.InvalidEventType", event+": ErrorInvalidEventType"
		case event == "SHUTDOWN" && !external:
			status, message = "Extension.InvalidEventType", event+": ShutdownEventNotSupportedForInternalExtension"
		}
	}
	switch {
	case status != "":
	case external && x.state != extStarted:
		status = "Extension.InvalidExtensionState"
		message = transition("extension "+x.name, string(x.state), "Registered")
	case external:
	case e.regOver:
		status, message = "Extension.RegistrationClosed", "Extension registration closed already"
	case x != nil:
		status, message = "Extension.InvalidExtensionState", "Extension with this name already registered"
	case len(e.exts) >= maxExtensions:
		status, message = "Extension.TooManyExtensions", fmt.Sprintf("Extension limit (%d) reached", maxExtensions)
	default:
		x = &extension{name: name}
		e.exts = append(e.exts, x)
	}
	if status != "" {
		e.mu.Unlock()
		return h.fail(403, status, message)
	}
	x.id = newUUID()
	x.events = req.Events
	x.state = extRegistered
	e.checkLocked()
	e.mu.Unlock()
	spec := &e.a.spec
	answer := struct {
		FunctionName    string `json:"functionName"`
		FunctionVersion string `json:"functionVersion"`
		Handler         string `json:"handler"`
		AccountID       string `json:"accountId,omitempty"`
	}{spec.FunctionName, spec.FunctionVersion, spec.Handler, ""}
	for f := range strings.SplitSeq(get(r.header, "Lambda-Extension-Accept-Feature"), ",") {
		if strings.TrimSpace(f) == "accountId" {
			answer.AccountID = spec.AccountID
		}
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return h.reply(200, "application/json", b, headerField{"Lambda-Extension-Identifier", x.id})
}

func transition(who, from, to string) string {
	kind, name, _ := strings.Cut(who, " ")
	if name != "" {
		kind += " " + name
	}
	return "State transition from " + from + " to " + to + " failed for " + kind + ". Error: State transition is not allowed"
}

// extension finds the extension that a request is from, or answers it with an error.
func (e *environment) extension(h *httpConn, r *httpRequest) (*extension, error) {
	id := get(r.header, "Lambda-Extension-Identifier")
	if id == "" {
		return nil, h.fail(403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
	}
	if !isUUID(id) {
		return nil, h.fail(403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.exts {
		if x.id == id {
			return x, nil
		}
	}
	return nil, h.fail(403, "Extension.UnknownExtensionIdentifier", "Unknown extension "+id)
}

func (e *environment) extensionNext(h *httpConn, x *extension) error {
	e.mu.Lock()
	switch x.state {
	case extRegistered, extReady, extRunning:
	default:
		from := x.state
		e.mu.Unlock()
		return h.fail(403, "Extension.InvalidExtensionState", transition("extension "+x.id, string(from), "Ready"))
	}
	x.state = extReady
	if x.busy && x.pending == nil {
		x.busy = false
		e.round.exts--
		e.round.checkLocked()
	}
	e.checkLocked()
	if event := x.pending; event != nil {
		x.pending = nil
		x.state = extRunning
		e.mu.Unlock()
		return h.extensionEvent(event)
	}
	old := x.waiting
	x.waiting = h
	h.park(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if x.waiting == h {
			x.waiting = nil
		}
	})
	e.mu.Unlock()
	if old != nil {
		old.c.Close()
	}
	return nil
}

func (e *environment) extensionError(h *httpConn, r *httpRequest, to extState, errorType string) error {
	x, err := e.extension(h, r)
	if x == nil {
		return err
	}
	own := get(r.header, "Lambda-Extension-Function-Error-Type")
	if own == "" {
		return h.fail(403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
	}
	if _, err := r.bytes(1 << 20); err != nil && err != errTooLarge {
		return err
	}
	e.mu.Lock()
	from := x.state
	allowed := from == to || to == extInitError && from == extRegistered ||
		to == extExitError && (from == extRegistered || from == extReady || from == extRunning)
	if !allowed {
		e.mu.Unlock()
		name := string(to)
		if to == extExitError {
			name = "Exited"
		}
		return h.fail(403, "Extension.InvalidExtensionState", transition("extension "+x.id, string(from), name))
	}
	x.state, x.errorType = to, own
	e.mu.Unlock()
	if err := h.accept(); err != nil {
		return err
	}
	if from != to {
		e.fail(&failure{Type: errorType, Status: statusError, Text: own})
	}
	return nil
}
