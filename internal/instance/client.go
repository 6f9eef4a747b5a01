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

// ClientConfig is what a Client needs.
type ClientConfig struct {
	// Dial connects to the instance's agent. It is called once for each event at
	// a time, and again when a connection broke.
	Dial func(ctx context.Context) (net.Conn, error)
	// Secret is the one that the agent was given.
	Secret []byte
	// Patience is how long a broken control connection is tried again before the
	// instance counts as lost. 0 means 5 s.
	Patience time.Duration
}

// Client is an Agent at the other end of a wire: of an instance whose Server
// can be dialled.
//
//	Connect ─▶ (waits, prepared) ─▶ Start ─▶ Ready … Invoke … ─▶ Shutdown ─▶ Ended
type Client struct {
	cfg   ClientConfig
	ready chan struct{}
	ended chan struct{}
	ctx   context.Context // ends with the instance
	stop  context.CancelFunc
	wg    sync.WaitGroup

	write sync.Mutex // held while writing to the control connection

	mu      sync.Mutex // guards what follows
	control *wireConn  // nil while broken
	idle    []*wireConn
	logs    LogWriter
	logged  int64 // number of the last record that logs has
	isReady bool
	over    bool
	reason  EndReason
	spec    []byte // encoded, once started
	closing int64  // milliseconds that the shutdown which was asked for may take
}

var _ Agent = (*Client)(nil)

// Connect connects to an instance and returns once its agent has answered. No
// function runs until Start. ctx bounds the connecting alone.
func Connect(ctx context.Context, cfg ClientConfig) (*Client, error) {
	if cfg.Patience == 0 {
		cfg.Patience = 5 * time.Second
	}
	c := &Client{
		cfg:   cfg,
		ready: make(chan struct{}),
		ended: make(chan struct{}),
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	w, err := c.connect(ctx)
	if err != nil {
		c.stop()
		return nil, err
	}
	c.control = w
	c.wg.Go(func() { c.run(w) })
	c.wg.Go(c.ping)
	return c, nil
}

// Start sends the spec of the function that the instance shall run, whose INIT
// then begins; its log records go to logs, in order. It may be called once.
func (c *Client) Start(spec Spec, logs LogWriter) error {
	b, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("instance: encode the spec: %w", err)
	}
	c.mu.Lock()
	if c.spec != nil {
		c.mu.Unlock()
		return errors.New("instance: started twice")
	}
	c.spec = b
	c.logs = logs
	w := c.control
	over := c.over
	if !over && len(spec.Forward) > 0 {
		for range parkedConns {
			c.wg.Go(func() { c.forward(spec.Forward) })
		}
	}
	c.mu.Unlock()
	if over {
		return fmt.Errorf("instance: start: %w", ErrEnded)
	}
	if w == nil {
		return nil // sent once connected again
	}
	c.write.Lock()
	defer c.write.Unlock()
	if err := w.write(frameSpec, nil, b); err != nil {
		return fmt.Errorf("instance: send the spec: %w", err)
	}
	return nil
}

// Fail tells the client that its instance has ended, by whoever knows better
// than the wire, for instance because its container exited. The first reason counts.
func (c *Client) Fail(reason EndReason) { c.end(reason) }

func (c *Client) end(reason EndReason) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over = true
	c.reason = reason
	idle := c.idle
	c.idle = nil
	if c.control != nil {
		c.control.Close()
	}
	if !c.isReady {
		c.isReady = true
		close(c.ready)
	}
	close(c.ended)
	c.mu.Unlock()
	c.stop()
	for _, w := range idle {
		w.Close()
	}
}

// Close ends the client, not the instance; a connected instance that is left
// alone ends after its grace period. It waits for the client's goroutines.
func (c *Client) Close() {
	c.end(EndReason{Kind: EndLost, ExitCode: -1, Detail: "the client was closed"})
	c.wg.Wait()
}

// Ready implements Agent.
func (c *Client) Ready() <-chan struct{} { return c.ready }

// Ended implements Agent.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Reason implements Agent.
func (c *Client) Reason() EndReason {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// Shutdown implements Agent. When ctx ends first, its error is returned, and whoever
// can end the instance by force should.
func (c *Client) Shutdown(ctx context.Context) error {
	d := 10 * time.Second
	if t, ok := ctx.Deadline(); ok {
		d = time.Until(t)
	}
	c.mu.Lock()
	w, prepared := c.control, c.spec == nil
	c.closing = max(1, d.Milliseconds())
	closing := c.closing
	c.mu.Unlock()
	if w != nil { // else it is sent once connected again
		c.write.Lock()
		w.write(frameShutdown, putInt(nil, closing), nil)
		c.write.Unlock()
	}
	if prepared {
		c.end(EndReason{Kind: EndShutdown, ExitCode: -1})
	}
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("instance: shutdown: %w", ctx.Err())
	}
}

// connect dials the control connection.
func (c *Client) connect(ctx context.Context) (*wireConn, error) {
	w, err := c.dial(ctx, controlConn)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	seq := c.logged
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { w.Close() })
	defer stop()
	w.SetReadDeadline(time.Now().Add(handshake))
	if err = w.write(frameAck, putInt(nil, seq), nil); err == nil {
		var kind byte
		var body []byte
		var hello welcome
		if kind, body, err = w.read(); err == nil && (kind != frameWelcome || json.Unmarshal(body, &hello) != nil) {
			err = errWire
		}
		c.mu.Lock()
		spec, closing := c.spec, c.closing
		c.mu.Unlock()
		if err == nil && spec != nil && !hello.Started {
			err = w.write(frameSpec, nil, spec)
		}
		if err == nil && closing > 0 {
			err = w.write(frameShutdown, putInt(nil, closing), nil)
		}
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("instance: greet the agent: %w", err)
	}
	return w, nil
}

func (c *Client) dial(ctx context.Context, kind connKind) (*wireConn, error) {
	conn, err := c.cfg.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("instance: connect to the agent: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	w, err := dialHandshake(conn, c.cfg.Secret, kind)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("instance: connect to the agent: %w", err)
	}
	return w, nil
}

// run reads the control connection, and makes a new one when it breaks.
func (c *Client) run(w *wireConn) {
	for {
		err := c.read(w)
		w.Close()
		c.mu.Lock()
		c.control = nil
		over := c.over
		c.mu.Unlock()
		if over {
			return
		}
		if w = c.reconnect(); w == nil {
			c.end(EndReason{Kind: EndLost, ExitCode: -1, Detail: "the connection to the agent broke: " + err.Error()})
			return
		}
		c.mu.Lock()
		if c.over {
			c.mu.Unlock()
			w.Close()
			return
		}
		c.control = w
		c.mu.Unlock()
	}
}

func (c *Client) reconnect() *wireConn {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Patience)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		w, err := c.connect(ctx)
		if err == nil {
			return w
		}
		if errors.Is(err, errSecret) {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// read handles the agent's frames until the connection breaks.
func (c *Client) read(w *wireConn) error {
	unacked := 0
	var seq int64
	for {
		w.SetReadDeadline(time.Now().Add(wireSilence))
		kind, body, err := w.read()
		if err != nil {
			return err
		}
		switch kind {
		case frameLog:
			n, rec, err := parseLog(body)
			if err != nil {
				return err
			}
			c.mu.Lock()
			fresh := n > c.logged
			if fresh {
				c.logged = n
			}
			logs := c.logs
			c.mu.Unlock()
			if fresh && logs != nil {
				logs.WriteLog(rec)
			}
			seq = n
			unacked += len(body)
		case frameReady:
			c.mu.Lock()
			if !c.isReady {
				c.isReady = true
				close(c.ready)
			}
			c.mu.Unlock()
		case frameRefused:
			c.end(EndReason{Kind: EndCrash, ExitCode: -1, Detail: string(body)})
		case frameEnded:
			var r EndReason
			if err := json.Unmarshal(body, &r); err != nil {
				return err
			}
			c.write.Lock()
			w.write(frameAck, putInt(nil, c.logged), nil)
			c.write.Unlock()
			c.end(r)
			return nil
		case framePing:
		default:
			return errWire
		}
		if unacked > 256<<10 || unacked > 0 && w.r.Buffered() == 0 {
			unacked = 0
			c.write.Lock()
			err := w.write(frameAck, putInt(nil, seq), nil)
			c.write.Unlock()
			if err != nil {
				return err
			}
		}
	}
}

// ping shows the agent that the server is alive.
func (c *Client) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-c.ended:
			return
		}
		c.mu.Lock()
		w := c.control
		c.mu.Unlock()
		if w != nil {
			c.write.Lock()
			w.SetWriteDeadline(time.Now().Add(wireSilence))
			if w.write(framePing, nil, nil) != nil {
				w.Close()
			}
			c.write.Unlock()
		}
	}
}

// send sends e on an idle connection, or on a new one. After an error the
// agent surely does not have e, since it runs only what it has in full.
func (c *Client) send(ctx context.Context, e *Event) (*wireConn, error) {
	for {
		c.mu.Lock()
		if c.over {
			c.mu.Unlock()
			return nil, ErrEnded
		}
		if c.spec == nil {
			c.mu.Unlock()
			return nil, errors.New("the instance has no function yet")
		}
		var w *wireConn
		if n := len(c.idle); n > 0 {
			w = c.idle[n-1]
			c.idle = c.idle[:n-1]
		}
		c.mu.Unlock()
		fresh := w == nil
		if fresh {
			var err error
			if w, err = c.dial(ctx, eventConn); err != nil {
				return nil, err
			}
		}
		err := w.write(frameEvent, appendEvent(nil, e), e.Payload)
		if err == nil {
			return w, nil
		}
		w.Close()
		if fresh {
			return nil, fmt.Errorf("send the event: %w", err)
		}
	}
}

func (c *Client) release(w *wireConn) {
	c.mu.Lock()
	if !c.over && len(c.idle) < 64 {
		c.idle = append(c.idle, w)
		w = nil
	}
	c.mu.Unlock()
	if w != nil {
		w.Close()
	}
}

// Invoke implements Agent.
func (c *Client) Invoke(ctx context.Context, e *Event, sink Sink) (*Result, error) {
	w, err := c.send(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotHandedOver, err)
	}
	// The connection goes with the caller's interest and with the instance.
	stopCaller := func() bool { return true }
	if ctx.Done() != nil {
		stopCaller = context.AfterFunc(ctx, func() { w.Close() })
	}
	stopInstance := context.AfterFunc(c.ctx, func() { w.Close() })
	for {
		kind, body, err := w.read()
		if err != nil {
			stopInstance()
			stopCaller()
			w.Close()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("%w: %w", ErrEnded, err)
		}
		switch {
		case kind == frameBegin && sink != nil:
			if sink.Begin(string(body)) != nil {
				sink = discard{}
			}
			continue
		case kind == frameChunk && sink != nil:
			if _, err := sink.Write(body); err != nil {
				sink = discard{}
			}
			continue
		}
		kept := stopCaller()
		switch kind {
		case frameNotHandedOver, frameFailed:
			stopInstance()
			class := ErrEnded
			if kind == frameNotHandedOver {
				class = ErrNotHandedOver
			}
			err := fmt.Errorf("%w: %s", class, body)
			if kept {
				c.release(w)
			}
			return nil, err
		case frameResult:
			res, settled, err := parseResult(body)
			if err != nil {
				stopInstance()
				w.Close()
				return nil, fmt.Errorf("%w: %w", ErrEnded, err)
			}
			if settled {
				stopInstance()
				if kept {
					c.release(w)
				}
				return res, nil
			}
			done := make(chan struct{})
			res.Settled = done
			go func() {
				defer close(done)
				defer stopInstance()
				kind, body, err := w.read()
				if err != nil || kind != frameSettled {
					w.Close()
					return
				}
				res.Report = parseReport(&bodyReader{b: body})
				if kept {
					c.release(w)
				}
			}()
			return res, nil
		default:
			stopInstance()
			w.Close()
			return nil, fmt.Errorf("%w: %w", ErrEnded, errWire)
		}
	}
}

// discard is the sink of a caller who is gone.
type discard struct{}

func (discard) Begin(string) error          { return nil }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
