package main

import (
	"github.com/spf13/pflag"

	"github.com/hearth-run/hearth"
)

// containerFlags adds the flags that say how functions run in containers.
func containerFlags(fl *pflag.FlagSet, c *hearth.Containers) {
	fl.StringVar(&c.Image, "docker-image", "", "pattern of base images, with {runtime} and {version} (default public.ecr.aws/lambda/{runtime}:{version})")
	fl.StringVar(&c.Pull, "docker-pull", "missing", "when images are pulled: missing, always, never")
	fl.StringVar(&c.Network, "docker-network", "", "network that containers join (default the engine's)")
	fl.StringVar(&c.Name, "docker-name", "", "pattern of containers' names, with {function} and {id} (default hearth-{function}-{id})")
	fl.StringArrayVar(&c.Mounts, "docker-mount", nil, "further mount of containers, HOST:CONTAINER[:ro]; may be repeated")
	fl.StringArrayVar(&c.Hosts, "docker-host", nil, "further host name in containers, NAME:ADDRESS; may be repeated")
	fl.StringArrayVar(&c.DNS, "docker-dns", nil, "name server of containers; may be repeated")
	fl.IntVar(&c.Prepared, "docker-prepared", 0, "containers of each kind that wait for a function")
}
