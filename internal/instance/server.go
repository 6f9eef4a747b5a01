package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// ServerConfig is what a Server needs.
type ServerConfig struct {
	// Secret proves both ends to each other. It must not be empty.
	Secret []byte
	// Start makes and starts the agent of the spec that the client sent. It is
	// called at most once successfully; its error is told to the client.
	Start func(ctx context.Context, spec Spec, logs LogWriter) (Agent, error)
	// Grace is how long the instance lives without a client: from Serve on, and
	// after a connection was lost. 0 means 30 s.
	Grace time.Duration
}

// Server is the agent's end of the wire: it serves one Agent to the Client of
// one Hearth server. Before the client has sent a spec it is a prepared instance
// that waits.
type Server struct {
	cfg    ServerConfig
	logs   *outbox
	agents chan Agent    // has the agent once it is there
	over   chan struct{} // closed when the instance has ended and the client knows, or none is there
	there  chan struct{} // closed once there is an agent
	gone   chan struct{} // closed when Serve is about to return
	parked chan parkedConn
	once   sync.Once
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	agent   Agent
	started bool
	control net.Conn
	conns   map[net.Conn]struct{}
	grace   *time.Timer // runs while there is no control connection
	closed  bool
}

// NewServer returns a server that does nothing until Serve.
func NewServer(cfg ServerConfig) (*Server, error) {
	if len(cfg.Secret) == 0 {
		return nil, errors.New("instance: a server needs a secret")
	}
	if cfg.Grace == 0 {
		cfg.Grace = 30 * time.Second
	}
	return &Server{
		cfg:    cfg,
		logs:   newOutbox(),
		agents: make(chan Agent, 1),
		over:   make(chan struct{}),
		there:  make(chan struct{}),
		gone:   make(chan struct{}),
		parked: make(chan parkedConn),
		conns:  make(map[net.Conn]struct{}),
	}, nil
}

// Serve takes connections from ln until the instance has ended, because the
// client asked, because it ended by itself, or because no client was there for the
// grace period. It closes ln, and when it returns nothing of the function runs.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	s.grace = time.AfterFunc(s.cfg.Grace, s.finish)
	s.mu.Unlock()
	go func() {
		<-s.over
		ln.Close()
	}()
	var err error
	for {
		var c net.Conn
		c, err = ln.Accept()
		if err != nil {
			break
		}
		s.mu.Lock()
		if s.closed || len(s.conns) >= 4096 {
			s.mu.Unlock()
			c.Close()
			continue
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
	select {
	case <-s.over:
		err = nil
	default:
		err = fmt.Errorf("instance: accept connections: %w", err)
		s.finish()
	}
	s.mu.Lock()
	agent := s.agent
	s.mu.Unlock()
	if agent != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		agent.Shutdown(ctx)
		cancel()
		s.logs.waitEmpty(5 * time.Second)
	}
	s.mu.Lock()
	s.closed = true
	s.grace.Stop()
	close(s.gone)
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.logs.close()
	s.wg.Wait()
	return err
}

// Stop makes Serve end the instance, through its SHUTDOWN phase, and return.
func (s *Server) Stop() { s.finish() }

// finish makes Serve return.
func (s *Server) finish() { s.once.Do(func() { close(s.over) }) }

func (s *Server) serve(c net.Conn) {
	w, kind, err := acceptHandshake(c, s.cfg.Secret)
	if err != nil {
		return
	}
	switch kind {
	case controlConn:
		s.serveControl(w)
		return
	case forwardConn:
		s.park(w)
		return
	}
	for {
		kind, body, err := w.read()
		if err != nil || kind != frameEvent {
			return
		}
		agent := s.waitAgent()
		if agent == nil {
			if w.write(frameNotHandedOver, nil, []byte("the instance has no function yet")) != nil {
				return
			}
			continue
		}
		if s.serveEvent(w, agent, body) != nil {
			return
		}
	}
}

// waitAgent returns the agent, for which an event that overtook the spec waits,
// or nil if there is none.
func (s *Server) waitAgent() Agent {
	select {
	case <-s.there:
	default:
		patience := time.NewTimer(handshake)
		defer patience.Stop()
		select {
		case <-s.there:
		case <-s.over:
		case <-patience.C:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agent
}

// serveEvent carries one event to the agent and its answer back.
func (s *Server) serveEvent(w *wireConn, agent Agent, body []byte) error {
	e, err := parseEvent(body)
	if err != nil {
		return err
	}
	var sink Sink
	if e.Stream {
		sink = &wireSink{w}
	}
	res, err := agent.Invoke(context.Background(), e, sink)
	switch {
	case errors.Is(err, ErrNotHandedOver):
		return w.write(frameNotHandedOver, nil, []byte(err.Error()))
	case err != nil:
		return w.write(frameFailed, nil, []byte(err.Error()))
	}
	if err := w.write(frameResult, appendResult(nil, res), res.Payload); err != nil || res.Settled == nil {
		return err
	}
	<-res.Settled
	return w.write(frameSettled, appendReport(nil, &res.Report), nil)
}

// wireSink sends a streamed response.
type wireSink struct{ w *wireConn }

func (s *wireSink) Begin(contentType string) error {
	return s.w.write(frameBegin, nil, []byte(contentType))
}

func (s *wireSink) Write(b []byte) (int, error) {
	if err := s.w.write(frameChunk, nil, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

type welcome struct {
	Started bool // a spec has been taken
}

// serveControl serves the control connection until it breaks or a newer one
// takes its place.
func (s *Server) serveControl(w *wireConn) {
	s.mu.Lock()
	if s.control != nil {
		s.control.Close()
	}
	s.control = w.Conn
	s.grace.Stop()
	started := s.started
	agent := s.agent
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.control == w.Conn {
			s.control = nil
			s.logs.disconnect()
			s.grace.Reset(s.cfg.Grace)
		}
	}()

	// The client begins with the number of the last record that it has.
	w.SetReadDeadline(time.Now().Add(handshake))
	kind, body, err := w.read()
	r := bodyReader{b: body}
	seq := r.int()
	if err != nil || kind != frameAck || r.bad || w.writeJSON(frameWelcome, welcome{started}) != nil {
		return
	}
	s.logs.connect(seq)

	stop := make(chan struct{})
	gone := make(chan struct{})
	out := make(chan []byte) // complete small frames of this goroutine
	go func() {
		defer close(gone)
		s.send(w, agent, out, stop)
	}()
	defer func() {
		w.Close()
		close(stop)
		<-gone
	}()
	reply := func(frame []byte) {
		select {
		case out <- frame:
		case <-gone:
		}
	}
	for {
		w.SetReadDeadline(time.Now().Add(wireSilence))
		kind, body, err := w.read()
		if err != nil {
			return
		}
		r := bodyReader{b: body}
		switch kind {
		case frameAck:
			s.logs.ack(r.int())
		case framePing:
			reply([]byte{0, 0, 0, 1, framePing})
		case frameShutdown:
			d := time.Duration(r.int()) * time.Millisecond
			s.mu.Lock()
			a := s.agent
			s.started = true // nothing starts any more
			s.mu.Unlock()
			if a == nil {
				s.finish()
				return
			}
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), d)
				defer cancel()
				a.Shutdown(ctx)
			}()
		case frameSpec:
			if err := s.start(body); err != nil {
				text := err.Error()
				f := append([]byte{0, 0, 0, 0, frameRefused}, text...)
				f[2], f[3] = byte((len(text)+1)>>8), byte(len(text)+1)
				reply(f)
			}
		default:
			return
		}
	}
}

// start starts the function of an encoded spec.
func (s *Server) start(body []byte) error {
	var spec Spec
	if err := json.Unmarshal(body, &spec); err != nil {
		return fmt.Errorf("instance: decode the spec: %w", err)
	}
	s.mu.Lock()
	taken := s.started
	s.started = true
	s.mu.Unlock()
	if taken {
		return errors.New("instance: has its function already, or is ending")
	}
	err := s.listenForwards(spec.Forward)
	var agent Agent
	if err == nil {
		agent, err = s.cfg.Start(context.Background(), spec, s.logs)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.started = false
		if t := err.Error(); len(t) > 4000 {
			err = errors.New(t[:4000])
		}
		return err
	}
	s.agent = agent
	close(s.there)
	s.agents <- agent
	return nil
}

// send writes everything that goes out on a control connection.
func (s *Server) send(w *wireConn, agent Agent, out <-chan []byte, stop <-chan struct{}) {
	defer w.Close() // so that the reader ends, too
	var ready, ended <-chan struct{}
	if agent != nil {
		ready, ended = agent.Ready(), agent.Ended()
	}
	flush := func() error {
		for {
			b := s.logs.take()
			if b == nil {
				return nil
			}
			w.SetWriteDeadline(time.Now().Add(wireSilence))
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
	}
	for {
		var err error
		select {
		case a := <-s.agents:
			agent = a
			ready, ended = agent.Ready(), agent.Ended()
		case <-s.logs.wake:
			err = flush()
		case f := <-out:
			w.SetWriteDeadline(time.Now().Add(wireSilence))
			_, err = w.Write(f)
		case <-ready:
			ready = nil
			err = w.write(frameReady, nil, nil)
		case <-ended:
			if err = flush(); err == nil {
				err = w.writeJSON(frameEnded, agent.Reason())
			}
			ended = nil
			if err == nil {
				go func() {
					s.logs.waitEmpty(5 * time.Second)
					s.finish()
				}()
			}
		case <-stop:
			return
		}
		if err != nil {
			return
		}
	}
}
