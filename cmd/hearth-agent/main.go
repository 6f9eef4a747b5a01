// Command hearth-agent works inside execution environments: as the supervisor
// of a local instance's processes ("hearth-agent supervise").
package main

import (
	"fmt"
	"os"

	"github.com/hearth-run/hearth/internal/agent/confine"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "supervise" {
		if err := confine.Supervise(); err != nil {
			fmt.Fprintln(os.Stderr, "hearth-agent:", err)
			os.Exit(1)
		}
		return
	}
	fmt.Fprintln(os.Stderr, "usage: hearth-agent supervise")
	os.Exit(2)
}
