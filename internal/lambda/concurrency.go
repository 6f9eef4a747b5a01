package lambda

import (
	"context"
	"errors"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

func (s *Service) GetAccountSettings(ctx context.Context, in *api.GetAccountSettingsRequest) (*api.GetAccountSettingsResponse, error) {
	var u store.Usage
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		u, err = tx.Usage(scope(ctx))
		return err
	}); err != nil {
		return nil, err
	}
	return &api.GetAccountSettingsResponse{
		AccountLimit: &api.AccountLimit{
			TotalCodeSize: awsapi.Ptr(s.quotas.CodeStorage), CodeSizeUnzipped: awsapi.Ptr(s.quotas.UnzippedCode), CodeSizeZipped: awsapi.Ptr(s.quotas.ZippedCode),
			ConcurrentExecutions:           awsapi.Ptr(int32(s.quotas.ConcurrentExecutions)),
			UnreservedConcurrentExecutions: awsapi.Ptr(int32(s.quotas.ConcurrentExecutions - u.Reserved - u.Provisioned)),
		},
		AccountUsage: &api.AccountUsage{TotalCodeSize: awsapi.Ptr(u.CodeSize), FunctionCount: awsapi.Ptr(u.Functions)},
	}, nil
}

// unqualified reads the name of a function where versions and aliases are refused.
func (s *Service) unqualified(ctx context.Context, name *string, action string) (arn.Function, store.Key, error) {
	f, k, err := s.function(ctx, name, nil, action)
	if err == nil && f.Qualifier != "" {
		err = qualifiedNotAllowed()
	}
	return f, k, err
}

// provisionedOf returns what versions and aliases of a function have provisioned together.
func provisionedOf(tx *store.Tx, k store.Key) (ps []store.Provisioned, sum int64, err error) {
	ps, err = tx.Provisioned().List(store.Range[store.QualifiedKey]{Within: store.Of(k)})
	for _, p := range ps {
		sum += int64(p.Requested)
	}
	return ps, sum, err
}

func (s *Service) PutFunctionConcurrency(ctx context.Context, in *api.PutFunctionConcurrencyRequest) (*api.Concurrency, error) {
	f, k, err := s.unqualified(ctx, in.FunctionName, "PutFunctionConcurrency")
	if err != nil {
		return nil, err
	}
	want := *in.ReservedConcurrentExecutions
	err = s.update(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f.WithQualifier(store.Latest)))
		}
		u, err := tx.Usage(k.Scope())
		if err != nil {
			return err
		}
		_, provisioned, err := provisionedOf(tx, k)
		if err != nil {
			return err
		}
		change := store.Usage{Reserved: int64(want) - int64(awsapi.Val(fn.Reserved))}
		if fn.Reserved == nil {
			change.Provisioned = -provisioned // of what is reserved from now on
		}
		if s.quotas.ConcurrentExecutions-u.Reserved-u.Provisioned-change.Reserved-change.Provisioned < s.quotas.UnreservedMinimum && change.Reserved > 0 {
			return invalid("Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", s.quotas.UnreservedMinimum)
		}
		if provisioned > int64(want) {
			return invalid(" ReservedConcurrentExecutions  %d should not be lower than function's total provisioned concurrency [%d].", want, provisioned)
		}
		fn.Reserved = &want
		if err := tx.Functions().Put(fn); err != nil {
			return err
		}
		return s.use(tx, k.Scope(), change)
	})
	if err != nil {
		return nil, err
	}
	return &api.Concurrency{ReservedConcurrentExecutions: &want}, nil
}

func (s *Service) GetFunctionConcurrency(ctx context.Context, in *api.GetFunctionConcurrencyRequest) (*api.GetFunctionConcurrencyResponse, error) {
	f, k, err := s.unqualified(ctx, in.FunctionName, "GetFunctionConcurrency")
	if err != nil {
		return nil, err
	}
	out := &api.GetFunctionConcurrencyResponse{}
	err = s.view(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f))
		}
		out.ReservedConcurrentExecutions = fn.Reserved
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) DeleteFunctionConcurrency(ctx context.Context, in *api.DeleteFunctionConcurrencyRequest) error {
	f, k, err := s.unqualified(ctx, in.FunctionName, "DeleteFunctionConcurrency")
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f))
		}
		if fn.Reserved == nil {
			return nil
		}
		_, provisioned, err := provisionedOf(tx, k)
		if err != nil {
			return err
		}
		change := store.Usage{Reserved: -int64(*fn.Reserved), Provisioned: provisioned}
		fn.Reserved = nil
		if err := tx.Functions().Put(fn); err != nil {
			return err
		}
		return s.use(tx, k.Scope(), change)
	})
}

// provisionable finds the alias or version whose provisioned concurrency a
// request is about. a is nil for a version.
func provisionable(tx *store.Tx, f arn.Function) (fn *store.Function, a *store.Alias, err error) {
	fn, err = tx.Functions().Get(key(f))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, nil, err
	}
	if f.IsVersion() {
		if fn == nil {
			return nil, nil, noSuchFunction(f)
		}
		_, _, err := resolve(tx, f)
		return fn, nil, err
	}
	a, err = tx.Aliases().Get(store.AliasKey{Key: key(f), Alias: f.Qualifier})
	return fn, a, or(err, noSuchAlias(f))
}

func (s *Service) provisionedName(ctx context.Context, name, qualifier *string, action, refusal string) (arn.Function, store.QualifiedKey, error) {
	f, k, err := s.function(ctx, name, qualifier, action)
	if err == nil && (f.Qualifier == "" || f.Qualifier[0] == '$') {
		err = invalid("%s", refusal)
	}
	return f, store.QualifiedKey{Key: k, Qualifier: f.Qualifier}, err
}

const (
	notProvisionable = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
	notProvisioned   = "The function resource provided must be an alias or a published version."
)

func noProvisioned() *awsapi.Error {
	return api.ProvisionedConcurrencyConfigNotFoundException("No Provisioned Concurrency Config found for this function")
}

func (s *Service) PutProvisionedConcurrencyConfig(ctx context.Context, in *api.PutProvisionedConcurrencyConfigRequest) (*api.PutProvisionedConcurrencyConfigResponse, error) {
	f, q, err := s.provisionedName(ctx, in.FunctionName, in.Qualifier, "PutProvisionedConcurrencyConfig", notProvisionable)
	if err != nil {
		return nil, err
	}
	p := &store.Provisioned{QualifiedKey: q, Requested: *in.ProvisionedConcurrentExecutions, Status: api.ProvisionedConcurrencyStatusEnumInProgress, LastModified: now()}
	err = s.update(ctx, func(tx *store.Tx) error {
		fn, a, err := provisionable(tx, f)
		if err != nil {
			return err
		}
		if err := checkProvisioned(tx, fn, a, f.Qualifier); err != nil {
			return err
		}
		_, total, err := provisionedOf(tx, q.Key)
		if err != nil {
			return err
		}
		var change store.Usage
		change.Provisioned = int64(p.Requested)
		if old, err := tx.Provisioned().Get(q); err == nil {
			change.Provisioned -= int64(old.Requested)
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if fn.Reserved != nil {
			if total+change.Provisioned > int64(*fn.Reserved) {
				return invalid("Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
			}
			change.Provisioned = 0
		} else {
			u, err := tx.Usage(q.Scope())
			if err != nil {
				return err
			}
			free := s.quotas.ConcurrentExecutions - u.Reserved - u.Provisioned
			if change.Provisioned > free {
				return invalid("Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [%d].", free)
			}
			if free-change.Provisioned < s.quotas.UnreservedMinimum && change.Provisioned > 0 {
				return invalid("Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", s.quotas.UnreservedMinimum)
			}
		}
		if err := errors.Join(
			tx.Provisioned().Put(p),
			tx.Tasks().Put(&store.Task{QualifiedKey: q, Kind: taskProvision}),
		); err != nil {
			return err
		}
		return s.use(tx, q.Scope(), change)
	})
	if err != nil {
		return nil, err
	}
	s.begin(store.TaskKey{QualifiedKey: q, Kind: taskProvision})
	return &api.PutProvisionedConcurrencyConfigResponse{
		AllocatedProvisionedConcurrentExecutions: &p.Allocated, AvailableProvisionedConcurrentExecutions: &p.Available,
		RequestedProvisionedConcurrentExecutions: &p.Requested, Status: &p.Status, LastModified: modified(p.LastModified),
	}, nil
}

// checkProvisioned refuses what cannot have provisioned concurrency: $LATEST,
// and a version that has it by another name already.
func checkProvisioned(tx *store.Tx, fn *store.Function, a *store.Alias, qualifier string) error {
	ps, _, err := provisionedOf(tx, fn.Key)
	if err != nil {
		return err
	}
	if a != nil {
		if a.Version == store.Latest {
			return invalid(notProvisionable)
		}
		for _, p := range ps {
			if p.Qualifier == a.Version {
				return conflict("Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version")
			}
		}
		return nil
	}
	for _, p := range ps {
		if arn.IsVersion(p.Qualifier) {
			continue
		}
		other, err := tx.Aliases().Get(store.AliasKey{Key: fn.Key, Alias: p.Qualifier})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil && other.Version == qualifier {
			return conflict("Version is pointed by a Provisioned Concurrency alias")
		}
	}
	return nil
}

// settleProvisioned notes that what was asked for is there.
func (s *Service) settleProvisioned(ctx context.Context, k store.TaskKey) error {
	return s.cfg.Store.UpdateLazily(ctx, func(tx *store.Tx) error {
		p, err := tx.Provisioned().Get(k.QualifiedKey)
		if wanted, err := finish(tx, k, err); !wanted {
			return err
		}
		p.Allocated, p.Available, p.Status = p.Requested, p.Requested, api.ProvisionedConcurrencyStatusEnumReady
		return tx.Provisioned().Put(p)
	})
}

func (s *Service) GetProvisionedConcurrencyConfig(ctx context.Context, in *api.GetProvisionedConcurrencyConfigRequest) (*api.GetProvisionedConcurrencyConfigResponse, error) {
	f, q, err := s.provisionedName(ctx, in.FunctionName, in.Qualifier, "GetProvisionedConcurrencyConfig", notProvisioned)
	if err != nil {
		return nil, err
	}
	var p *store.Provisioned
	if err := s.view(ctx, func(tx *store.Tx) error {
		if _, _, err := provisionable(tx, f); err != nil {
			return err
		}
		var err error
		p, err = tx.Provisioned().Get(q)
		return or(err, noProvisioned())
	}); err != nil {
		return nil, err
	}
	return &api.GetProvisionedConcurrencyConfigResponse{
		AllocatedProvisionedConcurrentExecutions: &p.Allocated, AvailableProvisionedConcurrentExecutions: &p.Available,
		RequestedProvisionedConcurrentExecutions: &p.Requested, Status: &p.Status, StatusReason: ptr(p.StatusReason), LastModified: modified(p.LastModified),
	}, nil
}

func (s *Service) DeleteProvisionedConcurrencyConfig(ctx context.Context, in *api.DeleteProvisionedConcurrencyConfigRequest) error {
	f, q, err := s.provisionedName(ctx, in.FunctionName, in.Qualifier, "DeleteProvisionedConcurrencyConfig", notProvisioned)
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *store.Tx) error {
		fn, _, err := provisionable(tx, f)
		if err != nil {
			return err
		}
		p, err := tx.Provisioned().Get(q)
		if errors.Is(err, store.ErrNotFound) {
			return nil // gone is success
		}
		if err != nil {
			return err
		}
		if err := tx.Provisioned().Delete(q); err != nil || fn.Reserved != nil {
			return err
		}
		return s.use(tx, q.Scope(), store.Usage{Provisioned: -int64(p.Requested)})
	})
}

func (s *Service) ListProvisionedConcurrencyConfigs(ctx context.Context, in *api.ListProvisionedConcurrencyConfigsRequest) (*api.ListProvisionedConcurrencyConfigsResponse, error) {
	f, k, err := s.function(ctx, in.FunctionName, nil, "ListProvisionedConcurrencyConfigs")
	if err != nil {
		return nil, err
	}
	var after *store.QualifiedKey
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	out := &api.ListProvisionedConcurrencyConfigsResponse{ProvisionedConcurrencyConfigs: []api.ProvisionedConcurrencyConfigListItem{}}
	if err := s.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(k); err != nil {
			return or(err, noSuchFunction(f.WithQualifier("")))
		}
		if after != nil {
			after.Key = k
		}
		ps, err := tx.Provisioned().List(store.Range[store.QualifiedKey]{Within: store.Of(k), After: after, Limit: n + 1})
		ps, more := cut(ps, n)
		for _, p := range ps {
			out.ProvisionedConcurrencyConfigs = append(out.ProvisionedConcurrencyConfigs, api.ProvisionedConcurrencyConfigListItem{
				FunctionArn: awsapi.Ptr(f.WithQualifier(p.Qualifier).ARN()), AllocatedProvisionedConcurrentExecutions: awsapi.Ptr(p.Allocated),
				AvailableProvisionedConcurrentExecutions: awsapi.Ptr(p.Available), RequestedProvisionedConcurrentExecutions: awsapi.Ptr(p.Requested),
				Status: awsapi.Ptr(p.Status), StatusReason: ptr(p.StatusReason), LastModified: modified(p.LastModified),
			})
		}
		if more {
			out.NextMarker = nextMarker(true, store.QualifiedKey{Qualifier: ps[n-1].Qualifier})
		}
		return err
	}); err != nil {
		return nil, err
	}
	return out, nil
}
