package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/internal/runtimes"
)

// functionFlags describe a function on the command line.
type functionFlags struct {
	runtime, handler string
	env              []string
	envFile          string
	timeout, memory  int
	layers           []string
}

func (f *functionFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.runtime, "runtime", "", "runtime, such as python3.13 (default what the code and this machine have)")
	fl.StringVar(&f.handler, "handler", "", "handler (default by the language's convention)")
	fl.StringArrayVar(&f.env, "env", nil, "environment variable K=V; K alone takes its value from here")
	fl.StringVar(&f.envFile, "env-file", "", "file of environment variables, a K=V a line")
	fl.IntVar(&f.timeout, "timeout", 3, "timeout in seconds")
	fl.IntVar(&f.memory, "memory", 128, "memory in MB")
	fl.StringArrayVar(&f.layers, "layer", nil, "layer, in attach order")
}

// builtTarget is a target with its exact runtime.
type builtTarget struct {
	*target
	runtime string
}

var exactRuntime = regexp.MustCompile(`^(python|nodejs|ruby|java|provided|dotnet)(.*)$`)

// target finds the function at path and settles its runtime.
func (f *functionFlags) target(ctx context.Context, path string) (*builtTarget, error) {
	language := ""
	if f.runtime != "" {
		m := exactRuntime.FindStringSubmatch(f.runtime)
		if m == nil {
			return nil, fmt.Errorf("--runtime %q is none that Lambda has", f.runtime)
		}
		language = m[1]
	}
	t, err := detect(path, language, f.handler)
	if err != nil {
		return nil, err
	}
	b := &builtTarget{target: t, runtime: f.runtime}
	if b.runtime == "" || b.runtime == t.Language {
		if b.runtime, err = defaultRuntime(ctx, t.Language); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// environment returns the variables of --env-file, then those of --env.
func (f *functionFlags) environment() (map[string]string, error) {
	env := map[string]string{}
	add := func(entry, from string) error {
		k, v, ok := strings.Cut(entry, "=")
		if !ok {
			if v, ok = os.LookupEnv(k); !ok {
				return fmt.Errorf("%s: %q is not K=V, and there is no such variable here", from, entry)
			}
		}
		if k == "" {
			return fmt.Errorf("%s: %q has no name", from, entry)
		}
		env[k] = v
		return nil
	}
	if f.envFile != "" {
		file, err := os.Open(f.envFile)
		if err != nil {
			return nil, fmt.Errorf("--env-file: %w", err)
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			line = strings.TrimPrefix(line, "export ")
			if line == "" || line[0] == '#' {
				continue
			}
			k, v, ok := strings.Cut(line, "=")
			if n := len(v); ok && n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
				line = k + "=" + v[1:n-1]
			}
			if err := add(line, "--env-file"); err != nil {
				return nil, err
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("--env-file: %w", errors.Join(err))
		}
	}
	for _, e := range f.env {
		if err := add(e, "--env"); err != nil {
			return nil, err
		}
	}
	return env, nil
}

// defaultRuntime returns the newest runtime of a language that this machine
// runs exactly, else the newest there is.
func defaultRuntime(ctx context.Context, language string) (string, error) {
	newest := ""
	for _, r := range slices.Backward(runtimes.Known()) {
		if !strings.HasPrefix(r, language) {
			continue
		}
		if newest == "" {
			newest = r
		}
		if i, err := runtimes.Find(ctx, r); err == nil && i.Warning == "" {
			return r, nil
		}
	}
	if newest == "" {
		return "", fmt.Errorf("there is no runtime for %s here: say --runtime", language)
	}
	return newest, nil
}
