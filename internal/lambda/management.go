package lambda

import (
	"context"
	"strings"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// putVersion writes a version that resolve returned together with fn.
func putVersion(tx *store.Tx, fn *store.Function, v *store.Version) error {
	if v.Number == store.Latest {
		return tx.Functions().Put(fn)
	}
	return tx.Versions().Put(&store.Published{VersionKey: store.VersionKey{Key: fn.Key, Number: number(v.Number)}, FunctionID: fn.ID, Config: *v})
}

func (s *Service) PutRuntimeManagementConfig(ctx context.Context, in *api.PutRuntimeManagementConfigRequest) (*api.PutRuntimeManagementConfigResponse, error) {
	f, _, err := s.function(ctx, in.FunctionName, in.Qualifier, "PutRuntimeManagementConfig")
	if err != nil {
		return nil, err
	}
	manual := *in.UpdateRuntimeOn == api.UpdateRuntimeOnManual
	if manual && in.RuntimeVersionArn == nil {
		return nil, invalid("RuntimeVersionArn must be specified when UpdateRuntimeOn is Manual.")
	}
	if !manual && in.RuntimeVersionArn != nil {
		return nil, invalid("RuntimeVersionArn can only be specified when UpdateRuntimeOn is Manual.")
	}
	out := &api.PutRuntimeManagementConfigResponse{FunctionArn: awsapi.Ptr(f.ARN()), UpdateRuntimeOn: in.UpdateRuntimeOn, RuntimeVersionArn: in.RuntimeVersionArn}
	err = s.update(ctx, func(tx *store.Tx) error {
		fn, v, err := resolve(tx, f)
		if err != nil {
			return err
		}
		if v.PackageType == api.PackageTypeImage {
			return invalid("Runtime management is not supported for functions that are defined as container images.")
		}
		if have := runtimeVersion(f, v.Runtime); manual && *in.RuntimeVersionArn != have {
			return invalid("Hearth has one version of the runtime %s, %s, and cannot keep another.", v.Runtime, have)
		}
		v.UpdateRuntimeOn = *in.UpdateRuntimeOn
		return putVersion(tx, fn, v)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) GetRuntimeManagementConfig(ctx context.Context, in *api.GetRuntimeManagementConfigRequest) (*api.GetRuntimeManagementConfigResponse, error) {
	f, _, err := s.function(ctx, in.FunctionName, in.Qualifier, "GetRuntimeManagementConfig")
	if err != nil {
		return nil, err
	}
	out := &api.GetRuntimeManagementConfigResponse{FunctionArn: awsapi.Ptr(f.ARN()), UpdateRuntimeOn: awsapi.Ptr(api.UpdateRuntimeOnAuto)}
	if err := s.view(ctx, func(tx *store.Tx) error {
		_, v, err := resolve(tx, f)
		if err != nil {
			return err
		}
		set(out.UpdateRuntimeOn, ptr(v.UpdateRuntimeOn))
		if v.UpdateRuntimeOn == api.UpdateRuntimeOnManual {
			out.RuntimeVersionArn = ptr(v.RuntimeVersionARN)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) PutFunctionRecursionConfig(ctx context.Context, in *api.PutFunctionRecursionConfigRequest) (*api.PutFunctionRecursionConfigResponse, error) {
	f, k, err := s.unqualified(ctx, in.FunctionName, "PutFunctionRecursionConfig")
	if err != nil {
		return nil, err
	}
	if err := s.update(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f))
		}
		fn.RecursiveLoop = *in.RecursiveLoop
		return tx.Functions().Put(fn)
	}); err != nil {
		return nil, err
	}
	return &api.PutFunctionRecursionConfigResponse{RecursiveLoop: in.RecursiveLoop}, nil
}

func (s *Service) GetFunctionRecursionConfig(ctx context.Context, in *api.GetFunctionRecursionConfigRequest) (*api.GetFunctionRecursionConfigResponse, error) {
	f, k, err := s.unqualified(ctx, in.FunctionName, "GetFunctionRecursionConfig")
	if err != nil {
		return nil, err
	}
	out := &api.GetFunctionRecursionConfigResponse{RecursiveLoop: awsapi.Ptr(api.RecursiveLoopTerminate)}
	if err := s.view(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f))
		}
		set(out.RecursiveLoop, ptr(fn.RecursiveLoop))
		return nil
	}); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) PutFunctionScalingConfig(ctx context.Context, in *api.PutFunctionScalingConfigRequest) (*api.PutFunctionScalingConfigResponse, error) {
	f, _, err := s.function(ctx, in.FunctionName, in.Qualifier, "PutFunctionScalingConfig")
	if err != nil {
		return nil, err
	}
	if c := in.FunctionScalingConfig; c != nil && c.MinExecutionEnvironments != nil && c.MaxExecutionEnvironments != nil && *c.MinExecutionEnvironments > *c.MaxExecutionEnvironments {
		return nil, invalid("MinExecutionEnvironments must not be greater than MaxExecutionEnvironments.")
	}
	out := &api.PutFunctionScalingConfigResponse{}
	if err := s.update(ctx, func(tx *store.Tx) error {
		fn, v, err := resolve(tx, f)
		if err != nil {
			return err
		}
		if v.CapacityProvider == nil {
			return invalid("Scaling configurations are supported only for functions with a capacity provider.")
		}
		v.Scaling = in.FunctionScalingConfig
		out.FunctionState = awsapi.Ptr(v.State)
		return putVersion(tx, fn, v)
	}); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) GetFunctionScalingConfig(ctx context.Context, in *api.GetFunctionScalingConfigRequest) (*api.GetFunctionScalingConfigResponse, error) {
	f, _, err := s.function(ctx, in.FunctionName, in.Qualifier, "GetFunctionScalingConfig")
	if err != nil {
		return nil, err
	}
	out := &api.GetFunctionScalingConfigResponse{FunctionArn: awsapi.Ptr(f.ARN())}
	if err := s.view(ctx, func(tx *store.Tx) error {
		_, v, err := resolve(tx, f)
		if err != nil {
			return err
		}
		if v.CapacityProvider == nil {
			return invalid("Scaling configurations are supported only for functions with a capacity provider.")
		}
		// What is asked for is never applied: Hearth has no capacity providers.
		out.RequestedFunctionScalingConfig = v.Scaling
		return nil
	}); err != nil {
		return nil, err
	}
	return out, nil
}

// policyResource reads the function whose whole policy is asked for by its ARN.
func (s *Service) policyResource(ctx context.Context, name, action string) (arn.Function, store.QualifiedKey, error) {
	if strings.Contains(name, ":runtime/") {
		return arn.Function{}, store.QualifiedKey{}, invalid("Hearth keeps no resource policies of runtimes.")
	}
	f, k, err := s.function(ctx, &name, nil, action)
	if f.Qualifier == store.Latest {
		f.Qualifier = ""
	}
	return f, store.QualifiedKey{Key: k, Qualifier: f.Qualifier}, err
}
