package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/internal/code"
)

func newDeploy() *cobra.Command {
	c := &client{}
	f := functionFlags{}
	var name, role string
	var publish bool
	cmd := &cobra.Command{
		Use:   "deploy PATH",
		Short: "Create or update a function from a folder or archive",
		Args:  cobra.ExactArgs(1),
		Example: `  hearth deploy examples/python-hello
  hearth deploy function.zip --name hello --runtime python3.13 --handler app.handler`,
	}
	c.flags(cmd)
	f.register(cmd)
	cmd.Flags().StringVar(&name, "name", "", "function name (default the folder's)")
	cmd.Flags().StringVar(&role, "role", "arn:aws:iam::000000000000:role/hearth", "execution role")
	cmd.Flags().BoolVar(&publish, "publish", false, "publish a version")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := f.target(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if name == "" {
			name = t.Name
		}
		env, err := f.environment()
		if err != nil {
			return err
		}
		var archive []byte
		if t.Archive {
			archive, err = os.ReadFile(t.Path)
		} else {
			var zip bytes.Buffer
			err = code.Pack(cmd.Context(), &zip, t.Path, nil)
			archive = zip.Bytes()
		}
		if err != nil {
			return err
		}
		api, err := c.lambda(cmd)
		if err != nil {
			return err
		}
		var environment *lambdatypes.Environment
		if len(env) > 0 {
			environment = &lambdatypes.Environment{Variables: env}
		}
		architecture := lambdatypes.ArchitectureX8664
		if runtime.GOARCH == "arm64" {
			architecture = lambdatypes.ArchitectureArm64
		}
		ctx := cmd.Context()
		verb := "created"
		_, err = api.CreateFunction(ctx, &awslambda.CreateFunctionInput{
			FunctionName: &name, Role: &role, Runtime: lambdatypes.Runtime(t.runtime), Handler: &t.Handler,
			Code: &lambdatypes.FunctionCode{ZipFile: archive}, Environment: environment, Layers: f.layers,
			Timeout: aws.Int32(int32(f.timeout)), MemorySize: aws.Int32(int32(f.memory)), Publish: publish,
			Architectures: []lambdatypes.Architecture{architecture},
		})
		var exists *lambdatypes.ResourceConflictException
		if errors.As(err, &exists) {
			verb = "updated"
			err = update(ctx, cmd, api, name, archive, publish, t, &f, environment)
		}
		if err != nil {
			return err
		}
		if err := settled(ctx, api, name); err != nil {
			return err
		}
		out, err := api.GetFunctionConfiguration(ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: &name})
		if err != nil {
			return err
		}
		if c.json {
			return c.print(out)
		}
		fmt.Fprintf(c.out, "%s %s\n", verb, aws.ToString(out.FunctionArn))
		fmt.Fprintf(c.errOut, "Invoke it with: hearth invoke %s\n", name)
		return nil
	}
	return cmd
}

// update brings an existing function to the given code and configuration.
// Settings that no flag names stay as they are.
func update(ctx context.Context, cmd *cobra.Command, api *awslambda.Client, name string, archive []byte, publish bool, t *builtTarget, f *functionFlags, environment *lambdatypes.Environment) error {
	if err := settled(ctx, api, name); err != nil {
		return err
	}
	in := &awslambda.UpdateFunctionConfigurationInput{
		FunctionName: &name, Runtime: lambdatypes.Runtime(t.runtime), Handler: &t.Handler, Environment: environment,
	}
	if cmd.Flags().Changed("layer") {
		in.Layers = f.layers
	}
	if cmd.Flags().Changed("timeout") {
		in.Timeout = aws.Int32(int32(f.timeout))
	}
	if cmd.Flags().Changed("memory") {
		in.MemorySize = aws.Int32(int32(f.memory))
	}
	if cmd.Flags().Changed("role") {
		role, _ := cmd.Flags().GetString("role")
		in.Role = &role
	}
	if _, err := api.UpdateFunctionConfiguration(ctx, in); err != nil {
		return err
	}
	if err := settled(ctx, api, name); err != nil {
		return err
	}
	_, err := api.UpdateFunctionCode(ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: &name, ZipFile: archive, Publish: publish})
	return err
}

// settled waits until the function is active and no update of it is in progress.
func settled(ctx context.Context, api *awslambda.Client, name string) error {
	delay := func(o *awslambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	}
	in := &awslambda.GetFunctionInput{FunctionName: &name}
	if err := awslambda.NewFunctionActiveV2Waiter(api).Wait(ctx, in, 5*time.Minute, delay); err != nil {
		return err
	}
	return awslambda.NewFunctionUpdatedV2Waiter(api).Wait(ctx, in, 5*time.Minute, func(o *awslambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, time.Second
	})
}
