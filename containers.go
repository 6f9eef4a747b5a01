package hearth

import "github.com/hearth-run/hearth/internal/backend/docker"

// Containers says how functions run in the containers of Docker or Podman. The
// zero value of each field has a meaning.
type Containers struct {
	// Image is the pattern of the images of functions that bring none, with
	// {runtime} and {version}. "" means public.ecr.aws/lambda/{runtime}:{version}.
	Image string
	// Pull says when images are pulled: "missing", "always" or "never". "" means missing.
	Pull string
	// Network is the network that containers join. "" means the engine's default.
	Network string
	// Name is the pattern of containers' names, with {function} and {id}. ""
	// means hearth-{function}-{id}.
	Name string
	// Mounts are further binds, HOST:CONTAINER[:ro].
	Mounts []string
	// Hosts are further host names, NAME:ADDRESS.
	Hosts []string
	// DNS are name servers' addresses.
	DNS []string
	// Prepared is how many containers of each kind that was launched once wait for
	// a function. 0 means none.
	Prepared int
}

func (c Containers) config() docker.Config {
	return docker.Config{
		Image: c.Image, Pull: docker.PullPolicy(c.Pull), Network: c.Network, Name: c.Name,
		Mounts: c.Mounts, Hosts: c.Hosts, DNS: c.DNS, Prepared: c.Prepared,
	}
}
