// Command cold measures the first answer of a function that imports nothing
// beside that of a bare interpreter which imports what the Runtime API over HTTP
// needs and answers one event:
//
//	go run ./bench/cold [-n 15] [-burst 50] [-hearth PATH]
//
// It then measures a burst of cold events of a function that sleeps 200 ms
// beside as many bare processes that are started at once and sleep as long.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearth-run/hearth/bench/floor"
	"github.com/hearth-run/hearth/internal/runtimes"
)

var (
	n     = flag.Int("n", 15, "how many starts")
	burst = flag.Int("burst", 50, "how many cold events at once; 0 leaves the burst out")
	path  = flag.String("hearth", "", "the executable to measure (default built from this tree)")
)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "cold:", err)
		os.Exit(1)
	}
}

type language struct {
	name     string
	runtimes []string
	file     string
	echo     string
	sleep    string // a handler that sleeps 200 ms
	once     []byte
	bare     []string // arguments of an interpreter that sleeps 200 ms
}

func run(ctx context.Context) error {
	h, err := floor.StartHearth(ctx, *path)
	if err != nil {
		return err
	}
	defer h.Close()
	fmt.Printf("%-34s %10s %8s\n", "", "median", "×")
	for _, l := range []language{
		{"Python", []string{"python3.13", "python3.12", "python3.11"}, "app.py", "def handler(event, context):\n    return event\n",
			"import time\ndef handler(event, context):\n    time.sleep(0.2)\n", floor.PythonOnce, []string{"-c", "import time; time.sleep(0.2)"}},
		{"Node.js", []string{"nodejs24.x", "nodejs22.x", "nodejs20.x", "nodejs18.x"}, "app.js", "exports.handler = async (event) => event;\n",
			"exports.handler = () => new Promise((r) => setTimeout(r, 200));\n", floor.NodeOnce, []string{"-e", "setTimeout(() => {}, 200)"}},
	} {
		if err := cold(ctx, h, l); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return nil
}

func cold(ctx context.Context, h *floor.Hearth, l language) error {
	var i *runtimes.Interpreter
	for _, name := range l.runtimes {
		if found, err := runtimes.Find(ctx, name); err == nil && found.Warning == "" {
			i = found
			break
		}
	}
	if i == nil {
		return fmt.Errorf("none of %v is here", l.runtimes)
	}
	once := filepath.Join(h.Dir, "once-"+l.file)
	if err := os.WriteFile(once, l.once, 0o644); err != nil {
		return err
	}
	base, err := floor.Median(*n, func() (time.Duration, error) {
		time.Sleep(20 * time.Millisecond)
		began := time.Now()
		instance, err := floor.StartRuntimeAPI([]string{i.Path, once}, nil)
		if err != nil {
			return 0, err
		}
		defer instance.Close()
		_, err = instance.Invoke([]byte(`{}`))
		return time.Since(began), err
	})
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %10s\n", l.name+", bare interpreter with HTTP", base.Round(100*time.Microsecond))
	code, err := floor.Zip(map[string][]byte{l.file: []byte(l.echo)})
	if err != nil {
		return err
	}
	// All are there before the first is measured, and end after the last: what
	// a server does about creation and deletion is no part of a cold start.
	var urls []string
	for k := range *n {
		name := fmt.Sprintf("cold-%s-%d", i.Language, k)
		url, err := h.Create(name, i.Runtime, "app.handler", code)
		if err != nil {
			return err
		}
		defer h.Delete(name)
		urls = append(urls, url)
	}
	got, err := floor.Median(*n, func() (time.Duration, error) {
		url := urls[0]
		urls = urls[1:]
		time.Sleep(20 * time.Millisecond)
		began := time.Now()
		err := post(url)
		return time.Since(began), err
	})
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %10s %8.2f\n", l.name+" in Hearth, first answer", got.Round(100*time.Microsecond), float64(got)/float64(base))
	if *burst == 0 {
		return nil
	}
	bare, err := together(func() error { return exec.Command(i.Path, l.bare...).Run() })
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %10s\n", fmt.Sprintf("%s, %d bare processes", l.name, *burst), bare.Round(time.Millisecond))
	code, err = floor.Zip(map[string][]byte{l.file: []byte(l.sleep)})
	if err != nil {
		return err
	}
	name := "burst-" + i.Language
	url, err := h.Create(name, i.Runtime, "app.handler", code)
	if err != nil {
		return err
	}
	defer h.Delete(name)
	took, err := together(func() error { return post(url) })
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %10s %8.2f\n", fmt.Sprintf("%s in Hearth, %d cold events", l.name, *burst), took.Round(time.Millisecond), float64(took)/float64(bare))
	return nil
}

// together runs f *burst times at once and returns the time until all are done.
func together(f func() error) (time.Duration, error) {
	errs := make([]error, *burst)
	var wg sync.WaitGroup
	began := time.Now()
	for k := range errs {
		wg.Go(func() { errs[k] = f() })
	}
	wg.Wait()
	took := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return took, nil
}

func post(url string) error {
	r, err := http.Post(url, "application/json", bytes.NewReader([]byte(`{}`)))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || r.Header.Get("X-Amz-Function-Error") != "" {
		return fmt.Errorf("%s: %s: %s %v", url, r.Status, body, err)
	}
	return nil
}
