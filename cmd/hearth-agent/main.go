// Command hearth-agent works inside execution environments: as the first
// process of a container that serves one function ("hearth-agent serve"), and
// as the supervisor of a local instance's processes ("hearth-agent supervise").
package main

import (
	"os"

	"github.com/hearth-run/hearth/internal/agent/agentmain"
)

func main() { os.Exit(agentmain.Main(os.Args[1:])) }
