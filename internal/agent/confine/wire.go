package confine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/internal/agent"
)

// The server and its supervisor exchange JSON messages over a Unix stream
// socket: four bytes of length, with which file descriptors travel, then the text.

// request is what the server asks of a supervisor.
type request struct {
	Op      string         // "setup", "start", "signal", "killAll", "pause", "resume"
	ID      int            // of the request; of the process too, if it starts one
	Setup   *Setup         `json:",omitempty"`
	Memory  string         `json:",omitempty"` // the control group that counts memory
	V2      bool           `json:",omitempty"` // Memory is of version 2
	Command *agent.Command `json:",omitempty"` // its files are sent as descriptors
	Files   int            // descriptors: standard output, standard error, then the extra ones
	Process int            // that gets Signal
	Signal  syscall.Signal
}

// reply is what a supervisor says, to a request or of itself.
type reply struct {
	Op     string // "hello", "done", "exited", "asked"
	ID     int
	Error  string
	Errno  syscall.Errno
	Exit   agent.ExitStatus
	Layout *Layout `json:",omitempty"`
}

// fail makes r carry err.
func (r *reply) fail(err error) {
	r.Error = err.Error()
	var errno syscall.Errno
	if errors.As(err, &errno) && strings.HasSuffix(r.Error, errno.Error()) {
		r.Errno = errno
		r.Error = strings.TrimSuffix(strings.TrimSuffix(r.Error, errno.Error()), ": ")
	}
}

// err returns the error that r carries, or nil.
func (r *reply) err() error {
	switch {
	case r.Errno != 0 && r.Error != "":
		return fmt.Errorf("%s: %w", r.Error, r.Errno)
	case r.Errno != 0:
		return r.Errno
	case r.Error != "":
		return errors.New(r.Error)
	}
	return nil
}

const (
	maxMessage = 8 << 20
	maxFiles   = 32
)

// wire is one end of the socket. send may be called concurrently.
type wire struct {
	c  *net.UnixConn
	mu sync.Mutex // orders sends
}

// newWire makes a wire of f and closes f.
func newWire(f *os.File) (*wire, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%s is no Unix socket", f.Name())
	}
	return &wire{c: u}, nil
}

// socketPair returns two connected sockets that close on exec.
func socketPair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "supervisor"), os.NewFile(uintptr(fds[1]), "server"), nil
}

// send sends v and files, which stay the caller's. The files become blocking,
// as the programs that get them expect.
func (w *wire) send(v any, files ...*os.File) error {
	if len(files) > maxFiles {
		return fmt.Errorf("%d files are more than %d", len(files), maxFiles)
	}
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			if f == nil {
				return fmt.Errorf("file %d: %w", i, os.ErrInvalid)
			}
			if fds[i] = int(f.Fd()); fds[i] < 0 {
				return fmt.Errorf("file %s: %w", f.Name(), os.ErrClosed)
			}
		}
		rights = unix.UnixRights(fds...)
	}
	message := append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...)
	w.mu.Lock()
	defer w.mu.Unlock()
	n, _, err := w.c.WriteMsgUnix(message, rights, nil)
	if err == nil && n < len(message) {
		_, err = w.c.Write(message[n:])
	}
	return err
}

// receive reads a message into v, and returns the descriptors that came with
// it, which the caller owns.
func (w *wire) receive(v any) (fds []int, err error) {
	defer func() {
		if err != nil {
			closeAll(fds)
			fds = nil
		}
	}()
	// A read ends where a message with descriptors ends at the latest, so they
	// can't be mistaken for another's as long as each head is read by itself.
	head := make([]byte, 4)
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	for got := 0; got < len(head); {
		n, oobn, _, _, err := w.c.ReadMsgUnix(head[got:], oob)
		if oobn > 0 {
			messages, err := unix.ParseSocketControlMessage(oob[:oobn])
			if err != nil {
				return fds, err
			}
			for _, m := range messages {
				more, err := unix.ParseUnixRights(&m)
				if err != nil {
					return fds, err
				}
				for _, fd := range more {
					unix.CloseOnExec(fd)
				}
				fds = append(fds, more...)
			}
		}
		if err != nil {
			return fds, err
		}
		if n == 0 {
			return fds, io.EOF
		}
		got += n
	}
	n := binary.BigEndian.Uint32(head)
	if n > maxMessage {
		return fds, fmt.Errorf("a message of %d bytes is too long", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(w.c, body); err != nil {
		return fds, err
	}
	return fds, json.Unmarshal(body, v)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
