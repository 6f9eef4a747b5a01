package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth"
)

func newRun() *cobra.Command {
	f := functionFlags{}
	var event, listen, backendName string
	var watch, verbose bool
	cmd := &cobra.Command{
		Use:   "run PATH",
		Short: "Run the function in a folder or archive",
		Long: `Run the function in a folder or archive as Lambda runs it.

The response goes to standard output, the log to standard error. The exit
status is 1 if the function returned an error.`,
		Args: cobra.ExactArgs(1),
		Example: `  hearth run examples/python-hello --event '{"name":"Ada"}'
  hearth run function.zip --handler app.handler --env TABLE=users
  hearth run examples/python-hello --listen 127.0.0.1:8080`,
	}
	f.register(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&event, "event", "e", "", "file that holds the event, - for standard input, or the JSON itself (default {})")
	fl.StringVar(&listen, "listen", "", "keep the function there, as the Runtime Interface Emulator does")
	fl.BoolVar(&watch, "watch", false, "run again whenever a file of the folder changes")
	fl.StringVar(&backendName, "backend", "auto", "where the function runs: auto, process, docker, podman")
	fl.BoolVarP(&verbose, "verbose", "v", false, "say more")
	cmd.MarkFlagsMutuallyExclusive("listen", "event")
	cmd.MarkFlagsMutuallyExclusive("listen", "watch")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := f.target(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		env, err := f.environment()
		if err != nil {
			return err
		}
		fn := hearth.Function{
			Name: t.Name, Path: t.Path, Runtime: t.runtime, Handler: t.Handler, Environment: env,
			Timeout: time.Duration(f.timeout) * time.Second, MemoryMB: f.memory, Layers: f.layers,
		}
		r, err := hearth.NewRunner(cmd.Context(), hearth.RunnerConfig{Backends: strings.Split(backendName, ","), Log: cmd.ErrOrStderr()})
		if err != nil {
			return err
		}
		defer r.Close()
		defer func() {
			// An answer is there before the last lines of its log.
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			r.Drain(ctx)
		}()
		if listen != "" {
			return listenRun(cmd.Context(), r, fn, listen, cmd.ErrOrStderr())
		}
		payload, err := readEvent(event, cmd.InOrStdin())
		if err != nil {
			return err
		}
		run := func() error { return runOnce(cmd.Context(), r, fn, payload, cmd.OutOrStdout(), cmd.ErrOrStderr()) }
		if !watch {
			return run()
		}
		return watchRun(cmd.Context(), t.Path, cmd.ErrOrStderr(), func() error {
			if event != "" && event != "-" {
				if payload, err = readEvent(event, nil); err != nil {
					return err
				}
			}
			return run()
		})
	}
	return cmd
}

// runOnce runs one event and prints the response.
func runOnce(ctx context.Context, r *hearth.Runner, fn hearth.Function, payload []byte, out, errOut io.Writer) error {
	var res *hearth.Result
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err = r.Invoke(ctx, fn, hearth.Event{Payload: payload})
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	if res.Payload != nil {
		fmt.Fprintf(out, "%s\n", strings.TrimSuffix(string(res.Payload), "\n"))
	}
	if res.FunctionError != "" {
		return errFunction
	}
	return nil
}

// listenRun answers invocations on addr until ctx ends.
func listenRun(ctx context.Context, r *hearth.Runner, fn hearth.Function, addr string, errOut io.Writer) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	srv := &http.Server{Handler: emulator(r, fn), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintf(errOut, "hearth: %s (%s) answers POST http://%s%s\n", fn.Name, fn.Runtime, ln.Addr(), invocationsPath)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		srv.Close()
	}
	return nil
}

const invocationsPath = "/2015-03-31/functions/function/invocations"

// emulator is the Runtime Interface Emulator's one operation.
func emulator(r *hearth.Runner, fn hearth.Function) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+invocationsPath, func(w http.ResponseWriter, req *http.Request) {
		fail := func(status int, code, message string) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Amzn-ErrorType", code)
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]string{"Type": "User", "message": message})
		}
		if o := req.Header.Get("Origin"); o != "" || req.Header.Get("Sec-Fetch-Site") == "cross-site" {
			fail(http.StatusForbidden, "AccessDeniedException", "requests of web pages are refused")
			return
		}
		payload, err := io.ReadAll(http.MaxBytesReader(w, req.Body, hearth.MaxEventSize))
		if err != nil {
			fail(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", hearth.MaxEventSize))
			return
		}
		id := uuid.NewString()
		res, err := r.Invoke(req.Context(), fn, hearth.Event{RequestID: id, Payload: payload, ClientContext: req.Header.Get("X-Amz-Client-Context")})
		var bad *hearth.BadEventError
		switch {
		case errors.As(err, &bad):
			fail(http.StatusBadRequest, "InvalidRequestContentException", bad.Message)
		case err != nil:
			fail(http.StatusInternalServerError, "ServiceException", err.Error())
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Amzn-RequestId", id)
			w.Header().Set("X-Amz-Executed-Version", "$LATEST")
			if res.FunctionError != "" {
				w.Header().Set("X-Amz-Function-Error", res.FunctionError)
			}
			w.Write(res.Payload)
		}
	})
	return mux
}
