// Package agentmain is the command line of hearth-agent, so that the hearth
// binary can be the agent, too.
package agentmain

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/internal/agent"
	"github.com/hearth-run/hearth/internal/agent/confine"
	"github.com/hearth-run/hearth/internal/instance"
)

const usage = `usage:
  hearth-agent serve --listen unix:PATH|tcp:HOST:PORT --secret-file FILE|- [--grace DURATION]
	Runs one execution environment, as its first process. The server connects to
	it, proves the secret, and sends what to run.
  hearth-agent supervise [NAME]
	Holds the processes of a local environment for the server that started it.
  hearth-agent hold
	Does nothing until standard input ends: a sign of life of who holds that open.
`

// Main runs the command line, whose first argument is the subcommand, and
// returns the exit status.
func Main(args []string) int {
	var err error
	switch {
	case len(args) >= 1 && args[0] == "supervise":
		err = confine.Supervise()
	case len(args) == 1 && args[0] == "hold":
		_, err = io.Copy(io.Discard, os.Stdin)
	case len(args) >= 1 && args[0] == "serve":
		err = serve(args[1:])
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if errors.Is(err, flag.ErrHelp) {
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hearth-agent:", err)
		return 1
	}
	return 0
}

// serve is what runs in containers, pods and sandboxes. It prints one line on
// standard output once it listens, and ends when its instance has ended, when
// SIGTERM asks it to, or when no server was there for the grace period.
func serve(args []string) error {
	f := flag.NewFlagSet("hearth-agent serve", flag.ContinueOnError)
	listen := f.String("listen", "", "where the server connects to: unix:PATH or tcp:HOST:PORT")
	secretFile := f.String("secret-file", "", "file whose first line is the secret; it is removed if it can be. - reads standard input")
	grace := f.Duration("grace", 30*time.Second, "how long to live without a server")
	if err := f.Parse(args); err != nil {
		return err
	}
	network, address, ok := strings.Cut(*listen, ":")
	if !ok || (network != "unix" && network != "tcp") || f.NArg() > 0 {
		return errors.New("serve needs --listen unix:PATH or --listen tcp:HOST:PORT, and no other arguments")
	}
	secret, err := readSecret(*secretFile)
	if err != nil {
		return err
	}
	if network == "unix" {
		os.Remove(address) // of an agent that was killed here before
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if network == "unix" {
		// The secret decides who may speak; the server may be another user.
		if err := os.Chmod(address, 0o666); err != nil {
			ln.Close()
			return fmt.Errorf("listen: %w", err)
		}
	}
	h := &host{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	s, err := instance.NewServer(instance.ServerConfig{Secret: secret, Grace: *grace, Start: h.start})
	if err != nil {
		ln.Close()
		return err
	}
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	go func() {
		<-terminate
		s.Stop()
	}()
	fmt.Println("hearth-agent listens on " + network + ":" + ln.Addr().String())
	return s.Serve(ln)
}

// readSecret reads the secret once: nobody can read it after.
func readSecret(file string) ([]byte, error) {
	var in io.Reader = os.Stdin
	switch file {
	case "":
		return nil, errors.New("serve needs --secret-file")
	case "-":
	default:
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read the secret: %w", err)
		}
		defer f.Close()
		defer os.Remove(file)
		in = f
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadBytes('\n')
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if line = bytes.TrimSpace(line); len(line) < 16 {
		return nil, errors.New("read the secret: it has less than 16 characters")
	}
	return line, nil
}

// host starts the instance's agent in this container.
type host struct{ log *slog.Logger }

func (h *host) start(ctx context.Context, spec instance.Spec, logs instance.LogWriter) (instance.Agent, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	args := []string{"supervise"}
	if len(Prefix) > 0 {
		args = append(append([]string(nil), Prefix...), args...)
	}
	// The container is the confinement; what is missing is a parent that holds on to every process.
	sup, err := confine.Start(ctx, confine.Config{Program: self, Args: args, Plain: true})
	if err != nil {
		return nil, err
	}
	if _, err := sup.Setup(ctx, confine.Setup{MaxFiles: 1024}); err != nil {
		sup.Close()
		return nil, err
	}
	a, err := agent.New(agent.Config{Spec: spec, Supervisor: newContained(sup), Logs: logs, Logger: h.log})
	if err == nil {
		err = a.Start(ctx)
	}
	if err != nil {
		sup.Close()
		return nil, err
	}
	return a, nil
}

// Prefix are the arguments that make this program the agent; none for
// hearth-agent itself. A program that embeds the agent sets it before Main.
var Prefix []string
