package instance

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Connections made inside the environment reach the server's side, several at
// once, whole, and only at the spec's addresses.
func TestForward(t *testing.T) {
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d of %s", len(b), r.URL.Path)
	}))
	defer there.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inside := ln.Addr().String()
	ln.Close() // for the agent to take
	cfg, _, served := serveScripted(t, time.Second)
	c, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Start(Spec{Forward: map[string]string{inside: there.Listener.Addr().String()}}, &records{}); err != nil {
		t.Fatal(err)
	}
	<-c.Ready()
	body := strings.Repeat("x", 3<<20)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			resp, err := client.Post(fmt.Sprintf("http://%s/%d", inside, i), "text/plain", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if want := fmt.Sprintf("%d of /%d", len(body), i); string(b) != want || err != nil {
				t.Errorf("answer = %q, %v, want %q", b, err, want)
			}
		})
	}
	wg.Wait()
	if err := c.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve() = %v, want nil", err)
	}
	if conn, err := net.Dial("tcp", inside); err == nil {
		conn.Close()
		t.Errorf("the listener at %s outlived the instance", inside)
	}
}
