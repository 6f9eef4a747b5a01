package docker

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/instance"
)

// command returns what starts the function's runtime in img, where, and the
// handler that an image's command names. has says whether a path of /var/task
// or /opt is there.
func command(d *backend.Deployment, img *image, has func(string) bool) (args []string, dir string, handler string, err error) {
	if d.Image == "" {
		if !strings.HasPrefix(d.Runtime, "provided") {
			return []string{"/var/runtime/bootstrap"}, "/var/task", d.Handler, nil
		}
		for _, root := range []string{"/var/task", "/opt"} {
			if has(path.Join(root, "bootstrap")) {
				return []string{path.Join(root, "bootstrap")}, "/var/task", d.Handler, nil
			}
		}
		// The agent finds that it is not there, and says so as AWS does.
		return []string{"/var/task/bootstrap"}, "/var/task", d.Handler, nil
	}
	entry, cmd, dir := img.entrypoint, img.cmd, img.workDir
	if d.ImageConfig.EntryPoint != nil {
		entry = d.ImageConfig.EntryPoint
	}
	if d.ImageConfig.Command != nil {
		cmd = d.ImageConfig.Command
	}
	if d.ImageConfig.WorkingDirectory != "" {
		dir = d.ImageConfig.WorkingDirectory
	}
	if dir == "" {
		dir = "/"
	}
	// An image that brings AWS's emulator means what it would run.
	if len(entry) > 1 && path.Base(entry[0]) == "aws-lambda-rie" {
		entry = entry[1:]
	}
	if len(cmd) > 0 {
		handler = cmd[0]
	}
	args = append(append([]string(nil), entry...), cmd...)
	if len(args) == 0 {
		return nil, "", "", fmt.Errorf("%w: image %s has neither ENTRYPOINT nor CMD, and ImageConfig gives none", backend.ErrStartFailed, img.ref)
	}
	return args, dir, handler, nil
}

// specOf returns what the agent in a container of img runs.
func (b *Backend) specOf(d *backend.Deployment, img *image, out backend.Output, t trees) (instance.Spec, error) {
	args, dir, handler, err := command(d, img, func(p string) bool {
		for seen, real := range map[string]string{"/var/task": t.task, "/opt": t.opt} {
			if rest, ok := strings.CutPrefix(p, seen); ok && real != "" {
				_, err := os.Stat(real + rest)
				return err == nil
			}
		}
		return false
	})
	if err != nil {
		return instance.Spec{}, err
	}
	image := map[string]string{}
	for _, e := range img.env {
		if k, v, ok := strings.Cut(e, "="); ok {
			image[k] = v
		}
	}
	system := "/usr/local/bin:/usr/bin/:/bin"
	if image["PATH"] != "" {
		system = image["PATH"]
	}
	run := *d
	if run.Handler == "" {
		run.Handler = handler
	}
	access := b.cfg.Access(*d)
	var forward map[string]string
	if b.cfg.Network != "host" {
		access.Endpoints, forward = carried(access.Endpoints)
	}
	env := backend.Environ(run, out.Stream, backend.Paths{TaskRoot: "/var/task", RuntimeDir: "/var/runtime", Opt: "/opt", System: system}, access, nil)
	// The image's own settings stand, but for those that are Lambda's to give.
	for _, k := range []string{"LANG", "TZ", "PATH", "LD_LIBRARY_PATH"} {
		if v, ok := image[k]; ok {
			if _, own := d.Environment[k]; !own {
				env[k] = v
			}
		}
	}
	merged := maps.Clone(image)
	maps.Copy(merged, env)
	if d.Runtime != "" {
		merged["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + d.Runtime
	} else if handler != "" {
		merged["_HANDLER"] = handler
	}
	return instance.Spec{
		FunctionName: d.Function, FunctionVersion: d.Version, FunctionARN: d.ARN(), AccountID: d.AccountID, Region: d.Region,
		Runtime: d.Runtime, Handler: run.Handler, MemoryMB: d.MemoryMB, EphemeralMB: d.EphemeralMB, Timeout: d.Timeout,
		InitType: d.InitType, MaxConcurrency: d.MaxConcurrency, Forward: forward, PauseIdle: b.cfg.PauseIdle,
		Command: args, WorkDir: dir, Environment: merged, ExtensionEnvironment: backend.ExtensionEnviron(merged), ExtensionsDir: "/opt/extensions",
		LogGroup: d.LogGroup, LogStream: out.Stream, LogFormat: d.LogFormat, AppLogLevel: d.AppLogLevel, SysLogLevel: d.SysLogLevel, Tracing: d.Tracing,
	}, nil
}

// carried returns endpoints as they work in a container, and what its agent
// carries for that: whatever is on this machine's loopback is, there, at the
// same port of the container's own.
func carried(endpoints map[string]string) (in map[string]string, forward map[string]string) {
	in = make(map[string]string, len(endpoints))
	for name, endpoint := range endpoints {
		in[name] = endpoint
		u, err := url.Parse(endpoint)
		if err != nil {
			continue
		}
		host, port := u.Hostname(), u.Port()
		ip := net.ParseIP(host)
		if host != "localhost" && (ip == nil || !ip.IsLoopback() && !ip.IsUnspecified()) {
			continue
		}
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		target := net.JoinHostPort(host, port)
		if ip != nil {
			if ip.IsUnspecified() {
				target = net.JoinHostPort("127.0.0.1", port)
			}
			u.Host = net.JoinHostPort("127.0.0.1", port)
			in[name] = u.String()
		}
		if forward == nil {
			forward = map[string]string{}
		}
		forward[net.JoinHostPort("127.0.0.1", port)] = target
	}
	return in, forward
}
