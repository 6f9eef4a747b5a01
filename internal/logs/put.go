package logs

import (
	"slices"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// Put appends events of a client (their Time and Message alone) to a stream
// that is there, and returns once they are in its file. ErrNoGroup, ErrNoStream.
func (s *Store) Put(sc Scope, group, stream string, events []Event) error {
	now := time.Now().UnixMilli()
	sorted := slices.Clone(events)
	slices.SortStableFunc(sorted, func(a, b Event) int { return a.Time.Compare(b.Time) })
	var buf []byte
	for _, e := range sorted {
		buf = appendRecord(buf, e.Time.UnixMilli(), now, instance.LogFunction, "", e.Message[:min(len(e.Message), maxMessage)])
	}
	for {
		st, err := s.stream(sc, group, stream)
		if err != nil {
			return err
		}
		st.mu.Lock()
		if st.gone {
			st.mu.Unlock()
			continue
		}
		st.flushLogged()
		err = st.appendLocked(buf)
		st.mu.Unlock()
		st.g.notify()
		return err
	}
}
