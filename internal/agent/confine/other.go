//go:build !linux

package confine

import (
	"errors"
	"syscall"
	"time"
)

// Without Linux's namespaces and control groups, processes are held by their
// process groups alone.

func isolations() []*syscall.SysProcAttr { return nil }

func isolate(*Setup) error { return errors.New("namespaces are Linux's") }

func becomeReaper() error { return nil }

func peakMemory() int64 { return 0 }

func signalAll(syscall.Signal) bool { return false }

func (s *supervised) killAll() error {
	for {
		s.mu.Lock()
		n := len(s.ids)
		for pid := range s.ids {
			syscall.Kill(-pid, syscall.SIGKILL)
		}
		s.mu.Unlock()
		s.reap()
		if n == 0 {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

type group struct{}

func newGroup(Setup, int) *group { return &group{} }

func (*group) limited() bool   { return false }
func (*group) memory() int64   { return 0 }
func (*group) resetMemory()    {}
func (*group) oomKills() int64 { return 0 }
func (*group) remove()         {}
