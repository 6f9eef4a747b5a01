// Command hearth runs AWS Lambda functions on this machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/internal/agent/agentmain"
	"github.com/hearth-run/hearth/internal/backend/process"
)

// errFunction says that the function failed and that everything about it has
// been printed already.
var errFunction = errors.New("the function returned an error")

func main() {
	if len(os.Args) > 1 && os.Args[1] == agentMode {
		os.Exit(agentmain.Main(os.Args[2:]))
	}
	process.OwnAgent = []string{agentMode}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	cmd := newRoot()
	err := cmd.ExecuteContext(ctx)
	stop()
	if err != nil {
		if !errors.Is(err, errFunction) {
			fmt.Fprintln(os.Stderr, "hearth:", explain(err))
		}
		os.Exit(1)
	}
}

// explain adds a next step to an error where there is one, and leaves out
// what only the SDK's authors read.
func explain(err error) string {
	var refused *net.OpError
	if errors.As(err, &refused) && errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Sprintf("nothing answers at %s; start a server with: hearth serve", refused.Addr)
	}
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode() + ": " + answer.ErrorMessage()
	}
	return err.Error()
}

// agentMode makes this program hearth-agent, where there is no other.
const agentMode = "agent"

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "hearth",
		Short: "AWS Lambda on your own machines",
		Long: `Hearth runs AWS Lambda functions on your own machines.

  hearth run PATH    runs the function in a folder or archive, once or on a port
  hearth serve       is a Lambda for the aws CLI, SDKs, Terraform, SAM and CDK`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newRun(), newServe(), newDeploy(), newInvoke(), newLogs(), newList(), newRemove())
	return root
}

// local says whether a host name or address is this machine's loopback.
func local(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
