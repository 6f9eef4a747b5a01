package agent

import (
	"context"
	"io"
	"os"
)

// A Supervisor starts an environment's processes and ends them all. In a
// container the agent is its own supervisor (package confine); for local
// processes it is a small process apart, the parent of the function's, so that
// nothing outlives a killed server.
//
// Its methods may be called concurrently.
type Supervisor interface {
	// Start starts a process in the environment. ctx bounds the start alone.
	// On error nothing was started. The supervisor takes its own copies of c's
	// files; the caller keeps and closes its own.
	Start(ctx context.Context, c Command) (Process, error)

	// KillAll ends every process of the environment, those that left their
	// session or process group too, and returns when none is left. The
	// environment can then start processes again (same /tmp).
	KillAll(ctx context.Context) error

	// Memory returns the peak memory use of the environment in bytes since the
	// last call of ResetMemory, or 0 where it can't be told.
	Memory() int64

	// ResetMemory begins a new measurement of Memory, where that is possible.
	ResetMemory()

	// OOMKills counts the processes that were killed for memory so far.
	OOMKills() int64

	// Pause stops all processes of the environment, Resume continues them.
	Pause() error
	Resume() error

	// Lost is closed when the supervisor itself is gone, and all processes with it.
	Lost() <-chan struct{}

	// Close ends all processes and releases what the supervisor holds.
	io.Closer
}

// Command is a process to start.
type Command struct {
	Name   string // "runtime" or the extension's name, for logs
	Path   string // the executable, as seen inside the environment
	Args   []string
	Env    []string // complete, "K=V"
	Dir    string
	Stdout *os.File
	Stderr *os.File
	Extra  []*os.File // descriptors 3, 4, …
}

// Process is a started process.
type Process interface {
	// Done is closed when the process has ended; Exit is valid after that.
	Done() <-chan struct{}
	Exit() ExitStatus
	// Signal sends SIGTERM or SIGKILL to the process and its group. A process
	// that is gone is no error.
	Signal(s os.Signal) error
}

// ExitStatus is how a process ended.
type ExitStatus struct {
	Code   int    // -1 when a signal ended it
	Signal string // "killed", "segmentation fault", … or ""
	OOM    bool   // killed for memory
}
