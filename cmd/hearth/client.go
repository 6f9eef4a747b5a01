package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/spf13/cobra"
)

// client is what the commands that talk to a Lambda endpoint share.
type client struct {
	endpoint string
	region   string
	json     bool
	out      io.Writer
	errOut   io.Writer
}

const defaultEndpoint = "http://127.0.0.1:9001"

func (c *client) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.endpoint, "endpoint", "", "URL of the Lambda endpoint (default $AWS_ENDPOINT_URL_LAMBDA, $AWS_ENDPOINT_URL or "+defaultEndpoint+")")
	f.StringVar(&c.region, "region", "", "region (default that of the AWS configuration, or us-east-1)")
	f.BoolVar(&c.json, "json", false, "print JSON")
}

// config returns an SDK configuration for the service of the endpoint. A
// loopback endpoint needs no credentials: Hearth's static ones are used
// when none are configured.
func (c *client) config(ctx context.Context, cmd *cobra.Command, service string) (aws.Config, error) {
	c.out, c.errOut = cmd.OutOrStdout(), cmd.ErrOrStderr()
	endpoint := c.endpoint
	for _, name := range []string{"AWS_ENDPOINT_URL_" + service, "AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"} {
		if endpoint == "" {
			endpoint = os.Getenv(name)
		}
	}
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return aws.Config{}, fmt.Errorf("--endpoint %q is no URL", endpoint)
	}
	opts := []func(*config.LoadOptions) error{config.WithBaseEndpoint(endpoint)}
	if c.region != "" {
		opts = append(opts, config.WithRegion(c.region))
	}
	if local(u.Hostname()) && os.Getenv("AWS_ACCESS_KEY_ID") == "" && os.Getenv("AWS_PROFILE") == "" {
		opts = append(opts, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("hearth", "hearth", "")))
	}
	// A server that is not there is told of at once.
	opts = append(opts, config.WithRetryer(func() aws.Retryer { return patience{retry.NewStandard()} }))
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return cfg, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	return cfg, nil
}

// patience is the SDK's retryer, but for refused connections.
type patience struct{ *retry.Standard }

// IsErrorRetryable implements aws.Retryer.
func (p patience) IsErrorRetryable(err error) bool {
	return !errors.Is(err, syscall.ECONNREFUSED) && p.Standard.IsErrorRetryable(err)
}

func (c *client) lambda(cmd *cobra.Command) (*awslambda.Client, error) {
	cfg, err := c.config(cmd.Context(), cmd, "LAMBDA")
	if err != nil {
		return nil, err
	}
	return awslambda.NewFromConfig(cfg), nil
}

// print writes v as indented JSON.
func (c *client) print(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func newInvoke() *cobra.Command {
	c := &client{}
	var event, qualifier string
	var async, stream, tail bool
	cmd := &cobra.Command{
		Use:   "invoke FUNCTION",
		Short: "Invoke a function and print its response",
		Args:  cobra.ExactArgs(1),
		Example: `  hearth invoke hello --event event.json
  echo '{"name":"Ada"}' | hearth invoke hello --event -`,
	}
	c.flags(cmd)
	cmd.Flags().StringVarP(&event, "event", "e", "", "file that holds the event, - for standard input, or the JSON itself (default {})")
	cmd.Flags().StringVar(&qualifier, "qualifier", "", "version or alias")
	cmd.Flags().BoolVar(&async, "async", false, "queue the event and do not wait for an answer")
	cmd.Flags().BoolVar(&stream, "stream", false, "print the response as it comes")
	cmd.Flags().BoolVar(&tail, "log", false, "print the log's last 4 KB on standard error")
	cmd.MarkFlagsMutuallyExclusive("async", "stream")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		payload, err := readEvent(event, cmd.InOrStdin())
		if err != nil {
			return err
		}
		api, err := c.lambda(cmd)
		if err != nil {
			return err
		}
		var q *string
		if qualifier != "" {
			q = &qualifier
		}
		if stream {
			return c.stream(cmd.Context(), api, args[0], q, payload, tail)
		}
		in := &awslambda.InvokeInput{FunctionName: &args[0], Qualifier: q, Payload: payload}
		if async {
			in.InvocationType = lambdatypes.InvocationTypeEvent
		} else if tail {
			in.LogType = lambdatypes.LogTypeTail
		}
		out, err := api.Invoke(cmd.Context(), in)
		if err != nil {
			return err
		}
		c.log(out.LogResult)
		if c.json {
			answer := map[string]any{"StatusCode": out.StatusCode}
			if out.ExecutedVersion != nil {
				answer["ExecutedVersion"] = *out.ExecutedVersion
			}
			if out.FunctionError != nil {
				answer["FunctionError"] = *out.FunctionError
			}
			if json.Valid(out.Payload) {
				answer["Payload"] = json.RawMessage(out.Payload)
			} else if len(out.Payload) > 0 {
				answer["Payload"] = string(out.Payload)
			}
			if err := c.print(answer); err != nil {
				return err
			}
		} else if len(out.Payload) > 0 {
			fmt.Fprintf(c.out, "%s\n", bytes.TrimSuffix(out.Payload, []byte("\n")))
		}
		if out.FunctionError != nil {
			return errFunction
		}
		return nil
	}
	return cmd
}

func (c *client) stream(ctx context.Context, api *awslambda.Client, name string, qualifier *string, payload []byte, tail bool) error {
	in := &awslambda.InvokeWithResponseStreamInput{FunctionName: &name, Qualifier: qualifier, Payload: payload}
	if tail {
		in.LogType = lambdatypes.LogTypeTail
	}
	out, err := api.InvokeWithResponseStream(ctx, in)
	if err != nil {
		return err
	}
	events := out.GetStream()
	defer events.Close()
	var failed error
	for e := range events.Events() {
		switch e := e.(type) {
		case *lambdatypes.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			if _, err := c.out.Write(e.Value.Payload); err != nil {
				return err
			}
		case *lambdatypes.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			c.log(e.Value.LogResult)
			if e.Value.ErrorCode != nil {
				fmt.Fprintf(c.errOut, "%s: %s\n", *e.Value.ErrorCode, aws.ToString(e.Value.ErrorDetails))
				failed = errFunction
			}
		}
	}
	return errors.Join(failed, events.Err())
}

// log prints a base64 log tail on standard error.
func (c *client) log(tail *string) {
	if tail == nil {
		return
	}
	if text, err := base64.StdEncoding.DecodeString(*tail); err == nil {
		c.errOut.Write(text)
	}
}

func newList() *cobra.Command {
	c := &client{}
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List functions",
		Args:    cobra.NoArgs,
	}
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := c.lambda(cmd)
		if err != nil {
			return err
		}
		functions := []lambdatypes.FunctionConfiguration{}
		pages := awslambda.NewListFunctionsPaginator(api, &awslambda.ListFunctionsInput{})
		for pages.HasMorePages() {
			page, err := pages.NextPage(cmd.Context())
			if err != nil {
				return err
			}
			functions = append(functions, page.Functions...)
		}
		if c.json {
			return c.print(functions)
		}
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tRUNTIME\tMEMORY\tTIMEOUT\tSIZE\tMODIFIED")
		for _, f := range functions {
			runtime := string(f.Runtime)
			if f.PackageType == lambdatypes.PackageTypeImage {
				runtime = "image"
			}
			fmt.Fprintf(w, "%s\t%s\t%d MB\t%d s\t%s\t%s\n", aws.ToString(f.FunctionName), runtime, aws.ToInt32(f.MemorySize), aws.ToInt32(f.Timeout), size(f.CodeSize), aws.ToString(f.LastModified))
		}
		return w.Flush()
	}
	return cmd
}

func size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

func newRemove() *cobra.Command {
	c := &client{}
	cmd := &cobra.Command{
		Use:     "rm FUNCTION...",
		Aliases: []string{"delete"},
		Short:   "Delete functions",
		Args:    cobra.MinimumNArgs(1),
	}
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := c.lambda(cmd)
		if err != nil {
			return err
		}
		removed := []string{}
		for _, name := range args {
			if _, err = api.DeleteFunction(cmd.Context(), &awslambda.DeleteFunctionInput{FunctionName: &name}); err != nil {
				break
			}
			removed = append(removed, name)
			if !c.json {
				fmt.Fprintln(c.out, name)
			}
		}
		if c.json {
			err = errors.Join(err, c.print(map[string]any{"Removed": removed}))
		}
		return err
	}
	return cmd
}

func newLogs() *cobra.Command {
	c := &client{}
	var follow bool
	var since time.Duration
	var request, filter, group string
	cmd := &cobra.Command{
		Use:   "logs FUNCTION",
		Short: "Print a function's log",
		Args:  cobra.ExactArgs(1),
	}
	c.flags(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as lines come")
	cmd.Flags().DurationVar(&since, "since", 10*time.Minute, "how far back to begin")
	cmd.Flags().StringVar(&request, "request", "", "only the lines of this request ID")
	cmd.Flags().StringVar(&filter, "filter", "", "only the lines that match this CloudWatch Logs filter pattern")
	cmd.Flags().StringVar(&group, "group", "", "log group (default the function's)")
	cmd.MarkFlagsMutuallyExclusive("request", "filter")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if request != "" {
			filter = `"` + request + `"`
		}
		if group == "" {
			var err error
			if group, err = c.group(cmd, args[0]); err != nil {
				return err
			}
		}
		cfg, err := c.config(cmd.Context(), cmd, "CLOUDWATCH_LOGS")
		if err != nil {
			return err
		}
		return c.follow(cmd.Context(), cloudwatchlogs.NewFromConfig(cfg), group, filter, time.Now().Add(-since), follow)
	}
	return cmd
}

// group asks for the function's log group.
func (c *client) group(cmd *cobra.Command, function string) (string, error) {
	api, err := c.lambda(cmd)
	if err != nil {
		return "", err
	}
	f, err := api.GetFunctionConfiguration(cmd.Context(), &awslambda.GetFunctionConfigurationInput{FunctionName: &function})
	if err != nil {
		return "", err
	}
	if f.LoggingConfig != nil && f.LoggingConfig.LogGroup != nil {
		return *f.LoggingConfig.LogGroup, nil
	}
	return "/aws/lambda/" + aws.ToString(f.FunctionName), nil
}

// follow prints the group's events from since on; if on is set, until ctx ends.
func (c *client) follow(ctx context.Context, api *cloudwatchlogs.Client, group, filter string, since time.Time, on bool) error {
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group}
	if filter != "" {
		in.FilterPattern = &filter
	}
	from := since.UnixMilli()
	seen := map[string]bool{} // events at the time from
	for {
		in.StartTime = &from
		in.NextToken = nil
		for {
			page, err := api.FilterLogEvents(ctx, in)
			var missing *types.ResourceNotFoundException
			if errors.As(err, &missing) {
				if !on {
					return nil // nothing was logged so far
				}
				break
			}
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			for _, e := range page.Events {
				id, at := aws.ToString(e.EventId), aws.ToInt64(e.Timestamp)
				if seen[id] {
					continue
				}
				if at > from {
					from = at
					clear(seen)
				}
				seen[id] = true
				if c.json {
					if err := json.NewEncoder(c.out).Encode(map[string]any{"timestamp": at, "message": aws.ToString(e.Message), "stream": aws.ToString(e.LogStreamName)}); err != nil {
						return err
					}
					continue
				}
				if _, err := fmt.Fprintln(c.out, strings.TrimSuffix(aws.ToString(e.Message), "\n")); err != nil {
					return err
				}
			}
			if in.NextToken = page.NextToken; in.NextToken == nil {
				break
			}
		}
		if !on {
			return nil
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// readEvent returns the event that s names: a file, standard input or JSON itself.
func readEvent(s string, stdin io.Reader) ([]byte, error) {
	switch {
	case s == "":
		return []byte("{}"), nil
	case s == "-":
		return io.ReadAll(stdin)
	}
	b, err := os.ReadFile(s)
	if errors.Is(err, os.ErrNotExist) && json.Valid([]byte(s)) {
		return []byte(s), nil
	}
	if err != nil {
		return nil, fmt.Errorf("--event: %w", err)
	}
	return b, nil
}
