package lambda

import (
	"context"
	"time"
)

// collectEvery is how often code that nothing uses any more is looked for.
const collectEvery = time.Hour

// collector is a Code that can remove what nobody needs. Without it archives stay for ever.
type collector interface {
	// Collect removes the archives for which live is false, but for those that were put a short while ago.
	Collect(ctx context.Context, live func(hash string) bool) (n int, freed int64, err error)
}

// Collect removes the archives that no function, version or layer uses any
// more, and returns how many those were and their bytes. A running Service does so now and then.
func (s *Service) Collect(ctx context.Context) (n int, freed int64, err error) {
	c, ok := s.cfg.Code.(collector)
	if !ok {
		return 0, 0, nil
	}
	// What is put after this is too young to be removed.
	live := map[string]bool{}
	if err := s.cfg.Store.References(ctx, func(hash string) { live[hash] = true }); err != nil {
		return 0, 0, err
	}
	return c.Collect(ctx, func(hash string) bool { return live[hash] })
}

// collect collects until the service stops.
func (s *Service) collect() {
	for {
		select {
		case <-time.After(collectEvery):
		case <-s.tasks.ctx.Done():
			return
		}
		n, freed, err := s.Collect(s.tasks.ctx)
		if err != nil && s.tasks.ctx.Err() == nil {
			s.log.Error("unused code not collected", "err", err)
		}
		if n > 0 {
			s.log.Info("unused code removed", "archives", n, "bytes", freed)
		}
	}
}
