package hearth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/backend/process"
	"github.com/hearth-run/hearth/internal/code"
	"github.com/hearth-run/hearth/internal/pool"
)

// backendConfig is what opening the backends takes.
type backendConfig struct {
	names  []string // in order of preference; "auto" for all, as fits
	dir    string   // for instances
	cache  string
	owner  string
	code   *code.Store
	access func(backend.Deployment) backend.Access
	log    *slog.Logger
}

// selection is a server's backends, in order of preference.
type selection struct {
	auto bool
	all  []backend.Backend
}

func openBackends(ctx context.Context, cfg backendConfig) (_ *selection, err error) {
	s := &selection{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	names := cfg.names
	if len(names) == 0 {
		names = []string{"auto"}
	}
	for _, name := range names {
		switch name = strings.TrimSpace(name); name {
		case "auto":
			s.auto = true
			fallthrough
		case process.Name:
			b, err := process.New(process.Config{Dir: cfg.dir, Cache: cfg.cache, Owner: cfg.owner, Code: cfg.code, Access: cfg.access, Logger: cfg.log})
			if err != nil {
				return nil, err
			}
			s.all = append(s.all, b)
		default:
			return nil, fmt.Errorf("there is no backend %q; there are auto and process", name)
		}
	}
	return s, nil
}

// pick returns the first backend that runs d as asked, else the first that
// runs it with a warning, else why none does.
func (s *selection) pick(d backend.Deployment) (backend.Backend, string, error) {
	var second backend.Backend
	var warning string
	var errs []error
	for _, b := range s.all {
		err := b.CanRun(d)
		var w *backend.Warning
		switch {
		case err == nil:
			return b, "", nil
		case errors.As(err, &w):
			if second == nil {
				second, warning = b, w.Text
			}
		default:
			errs = append(errs, err)
		}
	}
	if second != nil {
		return second, warning, nil
	}
	return nil, "", errors.Join(errs...)
}

// reap ends what dead servers left on every backend.
func (s *selection) reap(ctx context.Context) error {
	var errs []error
	for _, b := range s.all {
		if err := b.ReapStale(ctx); err != nil {
			errs = append(errs, fmt.Errorf("backend %s: %w", b.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// Close closes all backends.
func (s *selection) Close() error {
	var errs []error
	for _, b := range s.all {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}

var memory struct {
	sync.Mutex
	read time.Time
	is   pool.Memory
}

// memoryPressure says how short of memory this machine is, as of the last 100 ms.
func memoryPressure() pool.Memory {
	memory.Lock()
	defer memory.Unlock()
	if time.Since(memory.read) < 100*time.Millisecond {
		return memory.is
	}
	memory.read, memory.is = time.Now(), pool.MemoryPlenty
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return memory.is
	}
	value := func(name string) int64 {
		_, rest, _ := strings.Cut(string(b), name+":")
		kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, _ := strconv.ParseInt(kb, 10, 64)
		return n
	}
	switch total, available := value("MemTotal"), value("MemAvailable"); {
	case total == 0:
	case available < total/50:
		memory.is = pool.MemoryFull
	case available < total/10:
		memory.is = pool.MemoryLow
	}
	return memory.is
}
