package lambda

import (
	"context"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// noSuchSigning answers for a function that is to use a code signing
// configuration, noSuchSigningConfig for the configuration itself.
func noSuchSigning(name string) *awsapi.Error {
	return api.CodeSigningConfigNotFoundException("The code signing configuration cannot be found. Check that the provided configuration is not deleted: " + name + ".")
}

func noSuchSigningConfig(name string) *awsapi.Error {
	return untyped(notFound("The Lambda code signing configuration %s can not be found.", name))
}

// codeSigning reads a configuration by its ARN.
func codeSigning(tx *store.Tx, name string) (*store.CodeSigning, error) {
	kind, id, a, ok := arn.ParseResource(name)
	if !ok || kind != arn.KindCodeSigningConfig {
		return nil, store.ErrNotFound
	}
	return tx.CodeSignings().Get(store.Key{AccountID: a.AccountID, Region: a.Region, Name: id})
}

// checkSigned refuses code for a function that takes signed code alone: Hearth cannot verify signatures.
func checkSigned(tx *store.Tx, fn *store.Function) error {
	if fn.CodeSigningConfigARN == "" {
		return nil
	}
	c, err := codeSigning(tx, fn.CodeSigningConfigARN)
	if err != nil {
		return or(err, noSuchSigning(fn.CodeSigningConfigARN))
	}
	if c.Untrusted == api.CodeSigningPolicyEnforce {
		return api.CodeVerificationFailedException("Hearth cannot verify the signature of code: set UntrustedArtifactOnDeployment to Warn in the code signing configuration " + fn.CodeSigningConfigARN + ".")
	}
	return nil
}

func signingConfig(ctx context.Context, c *store.CodeSigning) *api.CodeSigningConfig {
	return &api.CodeSigningConfig{
		CodeSigningConfigId: awsapi.Ptr(c.Name), CodeSigningConfigArn: awsapi.Ptr(arn.Resource(awsapi.RequestFrom(ctx), arn.KindCodeSigningConfig, c.Name)),
		Description: awsapi.Ptr(c.Description), AllowedPublishers: &api.AllowedPublishers{SigningProfileVersionArns: c.Publishers},
		CodeSigningPolicies: &api.CodeSigningPolicies{UntrustedArtifactOnDeployment: awsapi.Ptr(c.Untrusted)}, LastModified: modified(c.LastModified),
	}
}

func (s *Service) CreateCodeSigningConfig(ctx context.Context, in *api.CreateCodeSigningConfigRequest) (*api.CreateCodeSigningConfigResponse, error) {
	if len(in.Tags) > s.quotas.Tags {
		return nil, invalid("Number of tags exceeds resource tag limit.")
	}
	c := &store.CodeSigning{
		Key: resource(ctx, "csc-"+urlID()[:17]), Description: awsapi.Val(in.Description), Publishers: in.AllowedPublishers.SigningProfileVersionArns,
		Untrusted: api.CodeSigningPolicyWarn, LastModified: now(), Tags: in.Tags,
	}
	if in.CodeSigningPolicies != nil {
		set(&c.Untrusted, in.CodeSigningPolicies.UntrustedArtifactOnDeployment)
	}
	if err := s.update(ctx, func(tx *store.Tx) error { return tx.CodeSignings().Insert(c) }); err != nil {
		return nil, err
	}
	return &api.CreateCodeSigningConfigResponse{CodeSigningConfig: signingConfig(ctx, c)}, nil
}

func (s *Service) GetCodeSigningConfig(ctx context.Context, in *api.GetCodeSigningConfigRequest) (*api.GetCodeSigningConfigResponse, error) {
	var c *store.CodeSigning
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		c, err = codeSigning(tx, *in.CodeSigningConfigArn)
		return or(err, noSuchSigningConfig(*in.CodeSigningConfigArn))
	}); err != nil {
		return nil, err
	}
	return &api.GetCodeSigningConfigResponse{CodeSigningConfig: signingConfig(ctx, c)}, nil
}

func (s *Service) UpdateCodeSigningConfig(ctx context.Context, in *api.UpdateCodeSigningConfigRequest) (*api.UpdateCodeSigningConfigResponse, error) {
	var c *store.CodeSigning
	if err := s.update(ctx, func(tx *store.Tx) (err error) {
		if c, err = codeSigning(tx, *in.CodeSigningConfigArn); err != nil {
			return or(err, noSuchSigningConfig(*in.CodeSigningConfigArn))
		}
		set(&c.Description, in.Description)
		if in.AllowedPublishers != nil {
			c.Publishers = in.AllowedPublishers.SigningProfileVersionArns
		}
		if in.CodeSigningPolicies != nil {
			set(&c.Untrusted, in.CodeSigningPolicies.UntrustedArtifactOnDeployment)
		}
		c.LastModified = now()
		return tx.CodeSignings().Put(c)
	}); err != nil {
		return nil, err
	}
	return &api.UpdateCodeSigningConfigResponse{CodeSigningConfig: signingConfig(ctx, c)}, nil
}

func (s *Service) DeleteCodeSigningConfig(ctx context.Context, in *api.DeleteCodeSigningConfigRequest) (*api.DeleteCodeSigningConfigResponse, error) {
	if err := s.update(ctx, func(tx *store.Tx) error {
		c, err := codeSigning(tx, *in.CodeSigningConfigArn)
		if err != nil {
			return or(err, noSuchSigningConfig(*in.CodeSigningConfigArn))
		}
		used, err := tx.Functions().List(store.Range[store.Key]{Within: store.In(c.Scope()), Column: "code_signing", Value: *in.CodeSigningConfigArn, Limit: 1})
		if err != nil {
			return err
		}
		if len(used) > 0 {
			return conflict("The code signing configuration %s is in use by functions.", *in.CodeSigningConfigArn)
		}
		return tx.CodeSignings().Delete(c.Key)
	}); err != nil {
		return nil, err
	}
	return &api.DeleteCodeSigningConfigResponse{}, nil
}

func (s *Service) ListCodeSigningConfigs(ctx context.Context, in *api.ListCodeSigningConfigsRequest) (*api.ListCodeSigningConfigsResponse, error) {
	var after *store.Key
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	if after != nil {
		*after = resource(ctx, after.Name)
	}
	out := &api.ListCodeSigningConfigsResponse{CodeSigningConfigs: []api.CodeSigningConfig{}}
	if err := s.view(ctx, func(tx *store.Tx) error {
		cs, err := tx.CodeSignings().List(store.Range[store.Key]{Within: store.In(scope(ctx)), After: after, Limit: n + 1})
		cs, more := cut(cs, n)
		for _, c := range cs {
			out.CodeSigningConfigs = append(out.CodeSigningConfigs, *signingConfig(ctx, &c))
		}
		if more {
			out.NextMarker = nextMarker(true, store.Key{Name: cs[n-1].Name})
		}
		return err
	}); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) ListFunctionsByCodeSigningConfig(ctx context.Context, in *api.ListFunctionsByCodeSigningConfigRequest) (*api.ListFunctionsByCodeSigningConfigResponse, error) {
	var after *store.Key
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	if after != nil {
		*after = resource(ctx, after.Name)
	}
	req := awsapi.RequestFrom(ctx)
	out := &api.ListFunctionsByCodeSigningConfigResponse{FunctionArns: []string{}}
	if err := s.view(ctx, func(tx *store.Tx) error {
		if _, err := codeSigning(tx, *in.CodeSigningConfigArn); err != nil {
			return or(err, noSuchSigningConfig(*in.CodeSigningConfigArn))
		}
		fns, err := tx.Functions().List(store.Range[store.Key]{Within: store.In(scope(ctx)), After: after, Column: "code_signing", Value: *in.CodeSigningConfigArn, Limit: n + 1})
		fns, more := cut(fns, n)
		for _, fn := range fns {
			out.FunctionArns = append(out.FunctionArns, arn.Resource(req, arn.KindFunction, fn.Name))
		}
		if more {
			out.NextMarker = nextMarker(true, store.Key{Name: fns[n-1].Name})
		}
		return err
	}); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) PutFunctionCodeSigningConfig(ctx context.Context, in *api.PutFunctionCodeSigningConfigRequest) (*api.PutFunctionCodeSigningConfigResponse, error) {
	f, k, err := s.unqualified(ctx, in.FunctionName, "PutFunctionCodeSigningConfig")
	if err != nil {
		return nil, err
	}
	if err := s.update(ctx, func(tx *store.Tx) error {
		if _, err := codeSigning(tx, *in.CodeSigningConfigArn); err != nil {
			return or(err, noSuchSigning(*in.CodeSigningConfigArn))
		}
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f))
		}
		fn.CodeSigningConfigARN = *in.CodeSigningConfigArn
		return tx.Functions().Put(fn)
	}); err != nil {
		return nil, err
	}
	return &api.PutFunctionCodeSigningConfigResponse{CodeSigningConfigArn: in.CodeSigningConfigArn, FunctionName: awsapi.Ptr(f.Name)}, nil
}

func (s *Service) GetFunctionCodeSigningConfig(ctx context.Context, in *api.GetFunctionCodeSigningConfigRequest) (*api.GetFunctionCodeSigningConfigResponse, error) {
	f, k, err := s.unqualified(ctx, in.FunctionName, "GetFunctionCodeSigningConfig")
	if err != nil {
		return nil, err
	}
	out := &api.GetFunctionCodeSigningConfigResponse{}
	if err := s.view(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f))
		}
		if fn.CodeSigningConfigARN != "" {
			out.CodeSigningConfigArn, out.FunctionName = awsapi.Ptr(fn.CodeSigningConfigARN), awsapi.Ptr(f.Name)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) DeleteFunctionCodeSigningConfig(ctx context.Context, in *api.DeleteFunctionCodeSigningConfigRequest) error {
	f, k, err := s.unqualified(ctx, in.FunctionName, "DeleteFunctionCodeSigningConfig")
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f))
		}
		if fn.CodeSigningConfigARN == "" {
			return nil
		}
		fn.CodeSigningConfigARN = ""
		return tx.Functions().Put(fn)
	})
}
