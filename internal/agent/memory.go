package agent

import (
	"sync"
	"time"
)

// memory is what is known of the environment's memory use. Measuring costs
// more than a short event does, so that a figure serves for a while.
type memory struct {
	mu   sync.Mutex // guards what follows, and measuring
	at   time.Time
	peak int // MB
}

// fresh is how long a figure serves.
const fresh = 200 * time.Millisecond

// known returns the peak in MB if it was measured lately.
func (m *memory) known(now time.Time) (peak int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peak, now.Sub(m.at) < fresh
}

// measure returns the peak in MB since the last measurement.
func (m *memory) measure(s Supervisor) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := s.Memory(); b > 0 {
		m.peak = int((b + 1<<20 - 1) >> 20)
	}
	s.ResetMemory()
	m.at = time.Now()
	return m.peak
}
