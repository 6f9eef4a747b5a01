package pool

import "fmt"

// Limit is one bound on concurrent events, as AWS counts them: an event counts
// from its admission until its instance is free again.
type Limit struct {
	Key    string // what is counted, e.g. an account or a function
	Max    int
	Reason ThrottleReason
}

// ThrottleReason is the Reason of a TooManyRequestsException.
type ThrottleReason string

const (
	AccountConcurrency  ThrottleReason = "ConcurrentInvocationLimitExceeded"
	FunctionConcurrency ThrottleReason = "ReservedFunctionConcurrentInvocationLimitExceeded"
)

// ThrottleError says that an event was not admitted.
type ThrottleError struct{ Limit Limit }

func (e *ThrottleError) Error() string {
	return fmt.Sprintf("%s: %d events of %s are in flight", e.Limit.Reason, e.Limit.Max, e.Limit.Key)
}

// admit counts an event against all limits, or none.
func (p *Pool) admit(limits []Limit) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return ErrDraining
	}
	for _, l := range limits {
		if p.inFlight[l.Key] >= l.Max {
			return &ThrottleError{l}
		}
	}
	for _, l := range limits {
		p.inFlight[l.Key]++
	}
	p.events++
	return nil
}

// leave undoes admit.
func (p *Pool) leave(limits []Limit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range limits {
		if p.inFlight[l.Key]--; p.inFlight[l.Key] == 0 {
			delete(p.inFlight, l.Key)
		}
	}
	if p.events--; p.events == 0 {
		close(p.settled)
		p.settled = make(chan struct{})
	}
}

// InFlight returns how many events count against key now.
func (p *Pool) InFlight(key string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inFlight[key]
}
