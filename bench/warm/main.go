// Command warm measures warm invocations through Hearth's HTTP API beside bare
// floors, in one run, and prints the ratios:
//
//	go run ./bench/warm [-long 2s] [-clients 16] [-hearth PATH]
//
// AWS's own clients take part where the comparison tests of internal/runtimes
// have installed them, AWS's emulator where aws-lambda-rie is on the PATH.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hearth-run/hearth/bench/floor"
	"github.com/hearth-run/hearth/internal/runtimes"
)

var (
	long    = flag.Duration("long", 2*time.Second, "how long each load runs")
	clients = flag.Int("clients", 16, "how many clients and instances the second load has")
	path    = flag.String("hearth", "", "the executable to measure (default built from this tree)")
	only    = flag.String("only", "", "measure this language only: python, nodejs or go")
)

// 100 bytes.
var event = []byte(`{"message":"` + strings.Repeat("x", 100-14) + `"}`)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "warm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	h, err := floor.StartHearth(ctx, *path)
	if err != nil {
		return err
	}
	defer h.Close()
	fmt.Printf("%-34s %10s %10s %12s %8s %8s\n", "", "p50, 1", "p99, 1", fmt.Sprintf("per s, %d", *clients), "p50 ×", "rate ×")
	for _, l := range []struct {
		name    string
		measure func(context.Context, *floor.Hearth) error
	}{{"python", python}, {"nodejs", nodejs}, {"go", golang}} {
		if *only != "" && *only != l.name {
			continue
		}
		if err := l.measure(ctx, h); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return nil
}

// row measures url and prints it, with its ratio to base if there is one.
func row(name, url string, base *floor.Figures) (*floor.Figures, error) {
	// Instances for all clients are up before anything is measured.
	if _, err := floor.Load(url, event, *clients, *long/4); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	one, err := floor.Load(url, event, 1, *long)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	many, err := floor.Load(url, event, *clients, *long)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	one.Rate = many.Rate
	ratio := func(a, b float64) string { return fmt.Sprintf("%.2f", a/b) }
	p, r := "", ""
	if base != nil {
		p, r = ratio(float64(one.P50), float64(base.P50)), ratio(one.Rate, base.Rate)
	}
	fmt.Printf("%-34s %10s %10s %12.0f %8s %8s\n", name, one.P50.Round(time.Microsecond), one.P99.Round(time.Microsecond), one.Rate, p, r)
	return &one, nil
}

// front measures n instances behind a bare front.
func front(name string, start func() (floor.Instance, error)) (*floor.Figures, error) {
	f, err := floor.NewFront(*clients, start)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	return row(name, f.URL, nil)
}

// function measures a function of Hearth, then removes it.
func function(h *floor.Hearth, name, fn, runtime, handler string, code []byte, base *floor.Figures) error {
	url, err := h.Create(fn, runtime, handler, code)
	if err != nil {
		return err
	}
	defer h.Delete(fn)
	_, err = row(name, url, base)
	return err
}

func script(h *floor.Hearth, name string, text []byte) (string, error) {
	file := filepath.Join(h.Dir, name)
	return file, os.WriteFile(file, text, 0o755)
}

const pythonEcho = "def handler(event, context):\n    return event\n"

func python(ctx context.Context, h *floor.Hearth) error {
	i, err := best(ctx, "python3.13", "python3.12", "python3.11")
	if err != nil {
		return err
	}
	loop, err := script(h, "loop.py", floor.PythonLoop)
	if err != nil {
		return err
	}
	a, err := front("Python, floor A (framed loop)", func() (floor.Instance, error) { return floor.StartFramed([]string{i.Path, loop}, nil) })
	if err != nil {
		return err
	}
	code, err := floor.Zip(map[string][]byte{"app.py": []byte(pythonEcho)})
	if err != nil {
		return err
	}
	if err := function(h, "Python in Hearth, to A", "python", i.Runtime, "app.handler", code, a); err != nil {
		return err
	}
	official := floor.Official("awslambdaric-*-" + i.Runtime)
	if official == "" {
		return nil
	}
	echo, err := script(h, "app.py", []byte(pythonEcho))
	if err != nil {
		return err
	}
	env := []string{"PYTHONPATH=" + official + ":" + filepath.Dir(echo), "AWS_EXECUTION_ENV=AWS_Lambda_" + i.Runtime}
	args := []string{i.Path, "-m", "awslambdaric", "app.handler"}
	b, err := front("Python, floor B (awslambdaric)", func() (floor.Instance, error) { return floor.StartRuntimeAPI(args, env) })
	if err != nil {
		return err
	}
	bootstrap := fmt.Sprintf("#!/bin/sh\nAWS_EXECUTION_ENV=AWS_Lambda_%s PYTHONPATH=%s:$LAMBDA_TASK_ROOT exec %s -m awslambdaric app.handler\n", i.Runtime, official, i.Path)
	code, err = floor.Zip(map[string][]byte{"app.py": []byte(pythonEcho), "bootstrap": []byte(bootstrap)})
	if err != nil {
		return err
	}
	if err := function(h, "awslambdaric in Hearth, to B", "python-ric", "provided.al2023", "app.handler", code, b); err != nil {
		return err
	}
	return emulator(h, env, args)
}

// emulator measures AWS's runtime interface emulator, which takes one client at a time.
func emulator(h *floor.Hearth, env, args []string) error {
	rie, err := exec.LookPath("aws-lambda-rie")
	if err != nil {
		fmt.Println("Python, AWS's emulator: aws-lambda-rie is not on the PATH")
		return nil
	}
	cmd := exec.Command(rie, append([]string{"--runtime-interface-emulator-address", "127.0.0.1:18080"}, args...)...)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+h.Dir, "_HANDLER=app.handler")
	cmd.Dir = h.Dir
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	const url = "http://127.0.0.1:18080/2015-03-31/functions/function/invocations"
	for range 200 {
		if r, err := http.Post(url, "application/json", bytes.NewReader(event)); err == nil {
			r.Body.Close()
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	one, err := floor.Load(url, event, 1, *long)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %10s %10s\n", "Python, AWS's emulator", one.P50.Round(time.Microsecond), one.P99.Round(time.Microsecond))
	return nil
}

const nodeEcho = "exports.handler = async (event) => event;\n"

func nodejs(ctx context.Context, h *floor.Hearth) error {
	i, err := best(ctx, "nodejs24.x", "nodejs22.x", "nodejs20.x", "nodejs18.x")
	if err != nil {
		return err
	}
	loop, err := script(h, "loop.js", floor.NodeLoop)
	if err != nil {
		return err
	}
	a, err := front("Node.js, floor A (framed loop)", func() (floor.Instance, error) { return floor.StartFramed([]string{i.Path, loop}, nil) })
	if err != nil {
		return err
	}
	code, err := floor.Zip(map[string][]byte{"app.js": []byte(nodeEcho)})
	if err != nil {
		return err
	}
	if err := function(h, "Node.js in Hearth, to A", "nodejs", i.Runtime, "app.handler", code, a); err != nil {
		return err
	}
	official := floor.Official("aws-lambda-ric-3*")
	if official == "" || i.Runtime >= "nodejs24" {
		return nil
	}
	client := filepath.Join(official, "node_modules/aws-lambda-ric/bin/index.mjs")
	if _, err := script(h, "app.js", []byte(nodeEcho)); err != nil {
		return err
	}
	// Its launcher takes the handler relative to the working folder.
	run := "cd " + h.Dir + " && exec " + i.Path + " " + client + " app.handler"
	env := []string{"AWS_LAMBDA_FUNCTION_NAME=f", "AWS_LAMBDA_FUNCTION_VERSION=1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256"}
	b, err := front("Node.js, floor B (aws-lambda-ric)", func() (floor.Instance, error) {
		return floor.StartRuntimeAPI([]string{"/bin/sh", "-c", run}, env)
	})
	if err != nil {
		return err
	}
	bootstrap := fmt.Sprintf("#!/bin/sh\ncd $LAMBDA_TASK_ROOT && exec %s %s app.handler\n", i.Path, client)
	code, err = floor.Zip(map[string][]byte{"app.js": []byte(nodeEcho), "bootstrap": []byte(bootstrap)})
	if err != nil {
		return err
	}
	return function(h, "aws-lambda-ric in Hearth, to B", "nodejs-ric", "provided.al2023", "app.handler", code, b)
}

func golang(ctx context.Context, h *floor.Hearth) error {
	bin := filepath.Join(h.Dir, "bootstrap")
	if err := floor.Build(ctx, bin, "github.com/hearth-run/hearth/bench/floor/gofunction"); err != nil {
		return err
	}
	b, err := front("Go, floor (bare Runtime API)", func() (floor.Instance, error) { return floor.StartRuntimeAPI([]string{bin}, nil) })
	if err != nil {
		return err
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return err
	}
	code, err := floor.Zip(map[string][]byte{"bootstrap": data})
	if err != nil {
		return err
	}
	return function(h, "Go in Hearth, to its floor", "go", "provided.al2023", "bootstrap", code, b)
}

// best returns the first of these runtimes that is here in exactly its version.
func best(ctx context.Context, names ...string) (*runtimes.Interpreter, error) {
	for _, name := range names {
		if i, err := runtimes.Find(ctx, name); err == nil && i.Warning == "" {
			return i, nil
		}
	}
	return nil, fmt.Errorf("none of %v is here", names)
}
