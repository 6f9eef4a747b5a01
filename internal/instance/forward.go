package instance

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// The agent carries connections of the function to the server's side, for
// endpoints that only the server reaches: those on its machine's loopback. Since
// only the Client dials, it keeps connections parked at the agent. The agent
// takes one for each connection that the function makes, and writes on it, in
// one frame, the address that the function meant; what follows is the two
// connections' bytes, as they are. The Client connects to no address but those
// of the spec's Forward.

// parkedConns is how many connections wait at the agent: bursts of more wait
// for one round trip each.
const parkedConns = 2

// listenForwards opens the spec's listeners inside the environment. They close
// with the instance. An address that is taken is an error.
func (s *Server) listenForwards(forward map[string]string) error {
	for listen := range forward {
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			return fmt.Errorf("instance: carry connections to %s: %w", listen, err)
		}
		s.wg.Go(func() { s.acceptForwards(ln, listen) })
		go func() {
			<-s.gone
			ln.Close()
		}()
	}
	return nil
}

func (s *Server) acceptForwards(ln net.Listener, listen string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			select {
			case <-s.gone:
				return
			case <-time.After(50 * time.Millisecond): // out of descriptors, for instance
				continue
			}
		}
		go s.forward(c, listen)
	}
}

// forward carries one of the function's connections.
func (s *Server) forward(c net.Conn, listen string) {
	defer c.Close()
	patience := time.NewTimer(handshake)
	defer patience.Stop()
	for {
		select {
		case p := <-s.parked:
			if p.w.write(frameForward, nil, []byte(listen)) != nil {
				close(p.done) // broken while it waited
				continue
			}
			splice(c, c, p.w.Conn, p.w.r)
			close(p.done)
			return
		case <-patience.C:
			return // no server is there
		case <-s.gone:
			return
		}
	}
}

// parkedConn is a connection that waits for the function to need it.
type parkedConn struct {
	w    *wireConn
	done chan struct{} // closed by who took it, when it is over
}

// park offers a connection, and returns when it is used up.
func (s *Server) park(w *wireConn) {
	p := parkedConn{w: w, done: make(chan struct{})}
	select {
	case s.parked <- p:
		<-p.done
	case <-s.gone:
	}
}

// forward keeps one connection parked at the agent until the instance ends.
func (c *Client) forward(to map[string]string) {
	for wait := 10 * time.Millisecond; ; {
		w, err := c.dial(c.ctx, forwardConn)
		if err == nil {
			stop := context.AfterFunc(c.ctx, func() { w.Close() })
			var kind byte
			var body []byte
			kind, body, err = w.read()
			address, ok := to[string(body)]
			switch {
			case err == nil && kind == frameForward && ok:
				wait = 10 * time.Millisecond
				c.wg.Go(func() {
					defer stop()
					c.carry(w, address)
				})
				continue
			default:
				stop()
				w.Close()
			}
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		case <-c.ctx.Done():
			return
		}
	}
}

// carry connects w to an address of this side.
func (c *Client) carry(w *wireConn, address string) {
	defer w.Close()
	d := net.Dialer{Timeout: 10 * time.Second}
	there, err := d.DialContext(c.ctx, "tcp", address)
	if err != nil {
		return // the function sees its connection close
	}
	stop := context.AfterFunc(c.ctx, func() { there.Close() })
	defer stop()
	defer there.Close()
	splice(there, there, w.Conn, w.r)
}

// splice copies between two connections until both directions are over. The
// readers are the connections or what is buffered before them.
func splice(a net.Conn, fromA io.Reader, b net.Conn, fromB io.Reader) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(a, fromB, b)
	}()
	pipe(b, fromA, a)
	<-done
}

// pipe copies from one connection to the other and passes on its end.
func pipe(to net.Conn, from io.Reader, source net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		half.CloseWrite()
		return
	}
	to.Close()
	source.Close()
}
