package confine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/hearth-run/hearth/internal/agent"
)

// The server and its supervisor exchange JSON messages over a Unix stream
// socket: four bytes of length, with which file descriptors travel, then the text.

// request is what the server asks of a supervisor.
type request struct {
	Op      string         // "setup", "start", "signal", "killAll", "memory", "resetMemory", "pause", "resume"
	ID      int            // of the process, or of the question
	Setup   *Setup         `json:",omitempty"`
	Command *agent.Command `json:",omitempty"` // its files are sent as descriptors
	Files   int            // descriptors: standard output, standard error, then the extra ones
	Signal  int
}

// reply is what a supervisor says, to a request or of itself.
type reply struct {
	Op     string // "ready", "started", "exited", "done"
	ID     int
	Error  string
	Errno  int
	Exit   agent.ExitStatus
	Number int64
}

// err returns the error that a reply carries, or nil.
func (r *reply) err() error {
	switch {
	case r.Errno != 0 && r.Error != "":
		return fmt.Errorf("%s: %w", r.Error, syscall.Errno(r.Errno))
	case r.Errno != 0:
		return syscall.Errno(r.Errno)
	case r.Error != "":
		return errors.New(r.Error)
	}
	return nil
}

const maxMessage = 8 << 20

// wire is one end of the socket. send may be called concurrently.
type wire struct {
	c  *net.UnixConn
	mu sync.Mutex // orders sends
}

func newWire(f *os.File) (*wire, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %d is no Unix socket", f.Fd())
	}
	return &wire{c: u}, nil
}

func (w *wire) send(v any, files ...*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			conn, err := f.SyscallConn() // Fd would make the file block
			if err != nil {
				return err
			}
			if err := conn.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
				return err
			}
		}
		rights = syscall.UnixRights(fds...)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, _, err := w.c.WriteMsgUnix(head, rights, nil); err != nil {
		return err
	}
	_, err = w.c.Write(body)
	return err
}

// receive reads a message into v, and returns the descriptors that came with it.
func (w *wire) receive(v any) ([]int, error) {
	head := make([]byte, 4)
	oob := make([]byte, syscall.CmsgSpace(4*32))
	var fds []int
	for got := 0; got < len(head); {
		n, oobn, _, _, err := w.c.ReadMsgUnix(head[got:], oob)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.EOF
		}
		got += n
		messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			more, err := syscall.ParseUnixRights(&m)
			if err != nil {
				return nil, err
			}
			fds = append(fds, more...)
		}
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd)
	}
	n := binary.BigEndian.Uint32(head)
	if n > maxMessage {
		return nil, errors.New("message too long")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(w.c, body); err != nil {
		return nil, err
	}
	return fds, json.Unmarshal(body, v)
}
