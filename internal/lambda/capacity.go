package lambda

import (
	"context"
	"errors"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// Capacity providers are kept and shown; no instance ever runs on one. A
// version that names one is ActiveNonInvocable, with the reason.

// capacityKey reads a capacity provider's name or ARN.
func capacityKey(ctx context.Context, name string) (store.Key, error) {
	if kind, id, a, ok := arn.ParseResource(name); ok && kind == arn.KindCapacityProvider {
		req := awsapi.RequestFrom(ctx)
		if a.AccountID != req.AccountID {
			return store.Key{}, arn.Denied(req, "lambda:GetCapacityProvider", name)
		}
		return store.Key{AccountID: a.AccountID, Region: a.Region, Name: id}, nil
	}
	return resource(ctx, name), nil
}

func noSuchCapacity(ctx context.Context, k store.Key) *awsapi.Error {
	return notFound("Capacity provider not found: %s", capacityARN(ctx, k))
}

func capacityARN(ctx context.Context, k store.Key) string {
	return arn.Resource(&awsapi.Request{Partition: awsapi.RequestFrom(ctx).Partition, Region: k.Region, AccountID: k.AccountID}, arn.KindCapacityProvider, k.Name)
}

func (s *Service) CreateCapacityProvider(ctx context.Context, in *api.CreateCapacityProviderRequest) (*api.CreateCapacityProviderResponse, error) {
	k, err := capacityKey(ctx, *in.CapacityProviderName)
	if err != nil {
		return nil, err
	}
	if len(in.Tags) > s.quotas.Tags {
		return nil, invalid("Number of tags exceeds resource tag limit.")
	}
	c := &store.Capacity{Key: k, Tags: in.Tags, Config: api.CapacityProvider{
		CapacityProviderArn: awsapi.Ptr(capacityARN(ctx, k)), State: awsapi.Ptr(api.CapacityProviderStatePending), VpcConfig: in.VpcConfig, PermissionsConfig: in.PermissionsConfig,
		InstanceRequirements: in.InstanceRequirements, CapacityProviderScalingConfig: in.CapacityProviderScalingConfig, KmsKeyArn: in.KmsKeyArn,
		PropagateTags: in.PropagateTags, TelemetryConfig: in.TelemetryConfig, LastModified: modified(now()),
	}}
	q := store.QualifiedKey{Key: k}
	if err := s.update(ctx, func(tx *store.Tx) error {
		if err := tx.Capacities().Insert(c); errors.Is(err, store.ErrExists) {
			return conflict("Capacity provider already exists: %s", *c.Config.CapacityProviderArn)
		} else if err != nil {
			return err
		}
		return tx.Tasks().Put(&store.Task{QualifiedKey: q, Kind: taskCapacity})
	}); err != nil {
		return nil, err
	}
	s.begin(store.TaskKey{QualifiedKey: q, Kind: taskCapacity})
	return &api.CreateCapacityProviderResponse{CapacityProvider: &c.Config}, nil
}

// settleCapacity finishes the making or the deletion of a capacity provider.
func (s *Service) settleCapacity(ctx context.Context, k store.TaskKey) error {
	return s.cfg.Store.UpdateLazily(ctx, func(tx *store.Tx) error {
		c, err := tx.Capacities().Get(k.Key)
		if wanted, err := finish(tx, k, err); !wanted {
			return err
		}
		if *c.Config.State == api.CapacityProviderStateDeleting {
			return tx.Capacities().Delete(k.Key)
		}
		c.Config.State = awsapi.Ptr(api.CapacityProviderStateActive)
		return tx.Capacities().Put(c)
	})
}

func (s *Service) GetCapacityProvider(ctx context.Context, in *api.GetCapacityProviderRequest) (*api.GetCapacityProviderResponse, error) {
	k, err := capacityKey(ctx, *in.CapacityProviderName)
	if err != nil {
		return nil, err
	}
	var c *store.Capacity
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		c, err = tx.Capacities().Get(k)
		return or(err, noSuchCapacity(ctx, k))
	}); err != nil {
		return nil, err
	}
	return &api.GetCapacityProviderResponse{CapacityProvider: &c.Config}, nil
}

func (s *Service) UpdateCapacityProvider(ctx context.Context, in *api.UpdateCapacityProviderRequest) (*api.UpdateCapacityProviderResponse, error) {
	k, err := capacityKey(ctx, *in.CapacityProviderName)
	if err != nil {
		return nil, err
	}
	var c *store.Capacity
	if err := s.update(ctx, func(tx *store.Tx) (err error) {
		if c, err = tx.Capacities().Get(k); err != nil {
			return or(err, noSuchCapacity(ctx, k))
		}
		if *c.Config.State != api.CapacityProviderStateActive {
			return conflict("The capacity provider is currently in the following state: %s", *c.Config.State)
		}
		if in.CapacityProviderScalingConfig != nil {
			c.Config.CapacityProviderScalingConfig = in.CapacityProviderScalingConfig
		}
		if in.PropagateTags != nil {
			c.Config.PropagateTags = in.PropagateTags
		}
		if in.TelemetryConfig != nil {
			c.Config.TelemetryConfig = in.TelemetryConfig
		}
		c.Config.LastModified = modified(now())
		return tx.Capacities().Put(c)
	}); err != nil {
		return nil, err
	}
	return &api.UpdateCapacityProviderResponse{CapacityProvider: &c.Config}, nil
}

func (s *Service) DeleteCapacityProvider(ctx context.Context, in *api.DeleteCapacityProviderRequest) (*api.DeleteCapacityProviderResponse, error) {
	k, err := capacityKey(ctx, *in.CapacityProviderName)
	if err != nil {
		return nil, err
	}
	q := store.QualifiedKey{Key: k}
	var c *store.Capacity
	if err := s.update(ctx, func(tx *store.Tx) (err error) {
		if c, err = tx.Capacities().Get(k); err != nil {
			return or(err, noSuchCapacity(ctx, k))
		}
		used, err := versionsOn(tx, k, *c.Config.CapacityProviderArn, listKey{}, 1)
		if err != nil {
			return err
		}
		if len(used) > 0 {
			return conflict("The capacity provider %s is in use by functions.", *c.Config.CapacityProviderArn)
		}
		c.Config.State = awsapi.Ptr(api.CapacityProviderStateDeleting)
		return errors.Join(tx.Capacities().Put(c), tx.Tasks().Put(&store.Task{QualifiedKey: q, Kind: taskCapacity}))
	}); err != nil {
		return nil, err
	}
	s.begin(store.TaskKey{QualifiedKey: q, Kind: taskCapacity})
	return &api.DeleteCapacityProviderResponse{CapacityProvider: &c.Config}, nil
}

func (s *Service) ListCapacityProviders(ctx context.Context, in *api.ListCapacityProvidersRequest) (*api.ListCapacityProvidersResponse, error) {
	var after *store.Key
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	if after != nil {
		*after = resource(ctx, after.Name)
	}
	out := &api.ListCapacityProvidersResponse{CapacityProviders: []api.CapacityProvider{}}
	var names []string
	if err := s.view(ctx, func(tx *store.Tx) error {
		cs, err := tx.Capacities().List(store.Range[store.Key]{Within: store.In(scope(ctx)), After: after})
		for _, c := range cs {
			if in.State == nil || *in.State == *c.Config.State {
				out.CapacityProviders, names = append(out.CapacityProviders, c.Config), append(names, c.Name)
			}
		}
		return err
	}); err != nil {
		return nil, err
	}
	var more bool
	if out.CapacityProviders, more = cut(out.CapacityProviders, n); more {
		out.NextMarker = nextMarker(true, store.Key{Name: names[n-1]})
	}
	return out, nil
}

// onCapacity is a version that names a capacity provider.
type onCapacity struct {
	listKey
	state string
}

// versionsOn returns up to limit versions, after the one given, of k's scope that name the capacity
// provider. It reads all functions of the scope.
func versionsOn(tx *store.Tx, k store.Key, provider string, after listKey, limit int) ([]onCapacity, error) {
	names := func(v *store.Version) bool {
		c := v.CapacityProvider
		return c != nil && c.LambdaManagedInstancesCapacityProviderConfig != nil && awsapi.Val(c.LambdaManagedInstancesCapacityProviderConfig.CapacityProviderArn) == provider
	}
	var out []onCapacity
	add := func(name string, number int64, v *store.Version) {
		if names(v) && (name > after.Name || name == after.Name && number > after.Number) {
			out = append(out, onCapacity{listKey{name, number}, v.State})
		}
	}
	fns, err := tx.Functions().List(store.Range[store.Key]{Within: store.In(k.Scope())})
	if err != nil {
		return nil, err
	}
	for _, fn := range fns {
		if len(out) >= limit {
			break
		}
		add(fn.Name, 0, &fn.Latest)
		if fn.LastVersion == 0 {
			continue
		}
		vs, err := tx.Versions().List(store.Range[store.VersionKey]{Within: store.Of(fn.Key)})
		if err != nil {
			return nil, err
		}
		for _, v := range vs {
			add(fn.Name, v.Number, &v.Config)
		}
	}
	return out, nil
}

func (s *Service) ListFunctionVersionsByCapacityProvider(ctx context.Context, in *api.ListFunctionVersionsByCapacityProviderRequest) (*api.ListFunctionVersionsByCapacityProviderResponse, error) {
	k, err := capacityKey(ctx, *in.CapacityProviderName)
	if err != nil {
		return nil, err
	}
	after := &listKey{}
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	provider := capacityARN(ctx, k)
	out := &api.ListFunctionVersionsByCapacityProviderResponse{CapacityProviderArn: &provider, FunctionVersions: []api.FunctionVersionsByCapacityProviderListItem{}}
	var found []onCapacity
	if err := s.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Capacities().Get(k); err != nil {
			return or(err, noSuchCapacity(ctx, k))
		}
		var err error
		found, err = versionsOn(tx, k, provider, *after, n+1)
		return err
	}); err != nil {
		return nil, err
	}
	found, more := cut(found, n)
	for _, v := range found {
		q := store.Latest
		if v.Number > 0 {
			q = itoa(v.Number)
		}
		f := arn.Function{Partition: awsapi.RequestFrom(ctx).Partition, Region: k.Region, AccountID: k.AccountID, Name: v.Name, Qualifier: q}
		out.FunctionVersions = append(out.FunctionVersions, api.FunctionVersionsByCapacityProviderListItem{FunctionArn: awsapi.Ptr(f.ARN()), State: awsapi.Ptr(v.state)})
	}
	if more {
		out.NextMarker = nextMarker(true, found[n-1].listKey)
	}
	return out, nil
}
