package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hearth-run/hearth"
)

// serveFlags are the flags of hearth serve; each is also a HEARTH_… variable.
type serveFlags struct {
	listen, data, backend     string
	accountID, region         string
	keepAlive, drain          time.Duration
	credentials               string
	insecure, verbose         bool
	pauseIdle, cpuShare       bool
	postgres, bucket          string
	concurrency, maxInstances int
	containers                hearth.Containers
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the Lambda API",
		Long: `Serve the Lambda API for the aws CLI, SDKs, Terraform, SAM and CDK.

Each flag is also an environment variable: --account-id is HEARTH_ACCOUNT_ID.
Functions' code from S3 is read from the SDKs' own AWS_ENDPOINT_URL[_S3].`,
		Args: cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:9001", "address to listen on; port 0 takes a free one")
	fl.StringVar(&f.data, "data", "", "data folder (default hearth in the user's data folder)")
	fl.StringVar(&f.backend, "backend", "auto", "where functions run, in order of preference: auto, process, docker, podman")
	fl.StringVar(&f.accountID, "account-id", "000000000000", "account of requests whose access key is no account ID")
	fl.StringVar(&f.region, "region", "us-east-1", "region of requests that are not signed for one")
	fl.DurationVar(&f.keepAlive, "keep-alive", 10*time.Minute, "how long an idle instance is kept")
	fl.DurationVar(&f.drain, "drain", 30*time.Second, "how long to let events finish when asked to stop")
	fl.StringVar(&f.credentials, "credentials", "static", "AWS credentials that functions get: static (the account ID as the key), inherit (this process's own) or KEY:SECRET[:TOKEN]")
	fl.BoolVar(&f.insecure, "insecure", false, "listen on other addresses than loopback although nobody is authenticated")
	fl.StringVar(&f.postgres, "postgres", "", "URL of a PostgreSQL database for the state of several servers (default SQLite in the data folder)")
	fl.StringVar(&f.bucket, "bucket", "", "s3://NAME/PREFIX for the code of several servers, at AWS_ENDPOINT_URL[_S3] (default the data folder)")
	fl.IntVar(&f.concurrency, "concurrency", 1000, "concurrent executions of an account")
	fl.IntVar(&f.maxInstances, "max-instances", 0, "instances at once (default bounded by memory alone)")
	fl.BoolVar(&f.pauseIdle, "pause-idle", false, "stop functions' processes between events, as AWS does")
	fl.BoolVar(&f.cpuShare, "cpu-share", false, "give functions CPU in proportion to their memory, as AWS does")
	containerFlags(fl, &f.containers)
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := fromEnvironment(cmd); err != nil {
			return err
		}
		return serve(cmd.Context(), f, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// fromEnvironment sets the flags that were not given from HEARTH_… variables.
func fromEnvironment(cmd *cobra.Command) error {
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		variable := "HEARTH_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v, ok := os.LookupEnv(variable); ok && !f.Changed && err == nil {
			if err = cmd.Flags().Set(f.Name, v); err != nil {
				err = fmt.Errorf("%s=%q: %w", variable, v, err)
			}
		}
	})
	return err
}

func serve(ctx context.Context, f serveFlags, out, errOut io.Writer) error {
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: level}))
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return fmt.Errorf("--listen %q is no HOST:PORT", f.listen)
	}
	if !local(host) && !f.insecure {
		return fmt.Errorf("--listen %s: nobody is authenticated, so other machines could run code here; listen on loopback, or say --insecure", f.listen)
	}
	if f.data == "" {
		if f.data, err = dataFolder(); err != nil {
			return err
		}
	}
	credentials, err := parseCredentials(f.credentials)
	if err != nil {
		return err
	}
	s, err := hearth.New(hearth.Config{
		Listen:       f.listen,
		Data:         f.data,
		PostgresURL:  f.postgres,
		Bucket:       f.bucket,
		Backends:     strings.Split(f.backend, ","),
		AccountID:    f.accountID,
		Region:       f.region,
		KeepAlive:    f.keepAlive,
		Credentials:  credentials,
		Concurrency:  f.concurrency,
		MaxInstances: f.maxInstances,
		PauseIdle:    f.pauseIdle,
		CPUShare:     f.cpuShare,
		Containers:   f.containers,
		Logger:       log,
	})
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return errors.Join(err, s.Close())
	}
	banner(out, s, f)

	select {
	case <-ctx.Done():
	case err := <-s.Failed():
		return errors.Join(err, s.Close())
	}
	fmt.Fprintf(errOut, "hearth: draining; events in flight have %s\n", f.drain)
	drain, cancel := context.WithTimeout(context.Background(), f.drain)
	defer cancel()
	if err := s.Drain(drain); err != nil {
		log.Warn("events were still in flight", "err", err)
	}
	return s.Close()
}

// banner says where the server is and how to point clients at it.
func banner(w io.Writer, s *hearth.Server, f serveFlags) {
	url := s.URL()
	fmt.Fprintf(w, `Hearth listens on %s

  aws CLI and SDKs   export AWS_ENDPOINT_URL=%[1]s AWS_REGION=%[2]s AWS_DEFAULT_REGION=%[2]s
                     export AWS_ACCESS_KEY_ID=hearth AWS_SECRET_ACCESS_KEY=hearth
  one command        aws --endpoint-url %[1]s lambda list-functions
  Terraform          provider "aws" { endpoints { lambda = "%[1]s" } ... }
  Hearth             hearth deploy DIR; hearth invoke NAME%[3]s

  data               %[4]s
`, url, f.region, endpointHint(url), f.data)
	// To find engines and interpreters means to ask and run them.
	go func() {
		fmt.Fprintf(w, "  backends           %s\n", strings.Join(s.Backends(), ", "))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		found := s.Runtimes(ctx)
		if len(found) == 0 {
			found = []string{"none (install Python, Node.js, Ruby or Java; executables named bootstrap run without)"}
		}
		fmt.Fprintf(w, "  runtimes           %s\n\n", strings.Join(found, ", "))
	}()
}

func endpointHint(url string) string {
	if url == defaultEndpoint {
		return ""
	}
	return "   (with --endpoint " + url + ")"
}

// dataFolder returns hearth's folder in the user's data folder.
func dataFolder() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "hearth"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no data folder: %w; say --data", err)
	}
	return filepath.Join(home, ".local", "share", "hearth"), nil
}

// parseCredentials turns --credentials into what functions see.
func parseCredentials(s string) (hearth.Credentials, error) {
	switch s {
	case "static", "":
		return hearth.Credentials{}, nil
	case "inherit":
		c := hearth.Credentials{
			AccessKeyID:     os.Getenv("AWS_ACCESS_KEY_ID"),
			SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
			SessionToken:    os.Getenv("AWS_SESSION_TOKEN"),
		}
		if c.AccessKeyID == "" {
			return c, errors.New("--credentials inherit: there is no AWS_ACCESS_KEY_ID to inherit")
		}
		return c, nil
	}
	parts := strings.SplitN(s, ":", 3)
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return hearth.Credentials{}, errors.New("--credentials is static, inherit or KEY:SECRET[:TOKEN]")
	}
	c := hearth.Credentials{AccessKeyID: parts[0], SecretAccessKey: parts[1]}
	if len(parts) == 3 {
		c.SessionToken = parts[2]
	}
	return c, nil
}
