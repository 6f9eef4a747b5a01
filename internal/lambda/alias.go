package lambda

import (
	"context"
	"errors"
	"strconv"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

func alias(f arn.Function, a *store.Alias) *api.AliasConfiguration {
	c := &api.AliasConfiguration{
		AliasArn:        awsapi.Ptr(f.WithQualifier(a.Alias).ARN()),
		Name:            awsapi.Ptr(a.Alias),
		FunctionVersion: awsapi.Ptr(a.Version),
		Description:     awsapi.Ptr(a.Description),
		RevisionId:      awsapi.Ptr(a.RevisionID),
	}
	if len(a.Weights) > 0 {
		c.RoutingConfig = &api.AliasRoutingConfiguration{AdditionalVersionWeights: a.Weights}
	}
	return c
}

// aliased reads the name of a function of which an alias is asked.
func (s *Service) aliased(ctx context.Context, name *string, action string) (arn.Function, store.Key, error) {
	f, k, err := s.function(ctx, name, nil, action)
	if err == nil && f.Qualifier != "" && f.Qualifier != store.Latest {
		err = qualifiedNotAllowed()
	}
	return f.WithQualifier(""), k, err
}

// checkRouting refuses versions that an alias of f cannot point to.
func checkRouting(tx *store.Tx, f arn.Function, version string, weights map[string]float64) error {
	if len(weights) > 1 {
		return invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
	}
	if len(weights) > 0 && version == store.Latest {
		return untyped(invalid("$LATEST is not supported for an alias pointing to more than 1 version"))
	}
	for v := range weights {
		if v == version {
			return invalid("Invalid function version %s. Function version %s is already included in routing configuration.", v, v)
		}
	}
	exists := func(version string) error {
		if version == store.Latest {
			return nil
		}
		n, err := strconv.ParseInt(version, 10, 64)
		if err == nil {
			_, err = tx.Versions().Get(store.VersionKey{Key: key(f), Number: n})
		} else {
			err = store.ErrNotFound
		}
		return or(err, noSuchFunction(f.WithQualifier(version)))
	}
	if err := exists(version); err != nil {
		return err
	}
	for v := range weights {
		if err := exists(v); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) CreateAlias(ctx context.Context, in *api.CreateAliasRequest) (*api.AliasConfiguration, error) {
	f, k, err := s.aliased(ctx, in.FunctionName, "CreateAlias")
	if err != nil {
		return nil, err
	}
	a := &store.Alias{
		AliasKey: store.AliasKey{Key: k, Alias: *in.Name}, Version: *in.FunctionVersion,
		Description: awsapi.Val(in.Description), RevisionID: uuid.NewString(),
	}
	if in.RoutingConfig != nil && len(in.RoutingConfig.AdditionalVersionWeights) > 0 {
		a.Weights = in.RoutingConfig.AdditionalVersionWeights
	}
	err = s.update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(k); err != nil {
			return or(err, noSuchFunction(f.WithQualifier(a.Version)))
		}
		if err := checkRouting(tx, f, a.Version, a.Weights); err != nil {
			return err
		}
		err := tx.Aliases().Insert(a)
		if errors.Is(err, store.ErrExists) {
			return conflict("Alias already exists: %s", f.WithQualifier(a.Alias).ARN())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return alias(f, a), nil
}

func (s *Service) GetAlias(ctx context.Context, in *api.GetAliasRequest) (*api.AliasConfiguration, error) {
	f, k, err := s.aliased(ctx, in.FunctionName, "GetAlias")
	if err != nil {
		return nil, err
	}
	var a *store.Alias
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		a, err = tx.Aliases().Get(store.AliasKey{Key: k, Alias: *in.Name})
		return or(err, noSuchAlias(f.WithQualifier(*in.Name)))
	}); err != nil {
		return nil, err
	}
	return alias(f, a), nil
}

func (s *Service) UpdateAlias(ctx context.Context, in *api.UpdateAliasRequest) (*api.AliasConfiguration, error) {
	f, k, err := s.aliased(ctx, in.FunctionName, "UpdateAlias")
	if err != nil {
		return nil, err
	}
	var a *store.Alias
	if err := s.update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(k); err != nil {
			return or(err, noSuchFunction(f))
		}
		var err error
		if a, err = tx.Aliases().Get(store.AliasKey{Key: k, Alias: *in.Name}); err != nil {
			return or(err, notFound("Alias not found: %s", f.WithQualifier(*in.Name).ARN()))
		}
		if err := checkRevision(in.RevisionId, a.RevisionID, byFunction); err != nil {
			return err
		}
		set(&a.Description, in.Description)
		set(&a.Version, in.FunctionVersion)
		if in.RoutingConfig != nil {
			a.Weights = in.RoutingConfig.AdditionalVersionWeights
			if len(a.Weights) == 0 {
				a.Weights = nil
			}
		}
		if err := checkRouting(tx, f, a.Version, a.Weights); err != nil {
			return err
		}
		a.RevisionID = uuid.NewString()
		return tx.Aliases().Put(a)
	}); err != nil {
		return nil, err
	}
	return alias(f, a), nil
}

func (s *Service) DeleteAlias(ctx context.Context, in *api.DeleteAliasRequest) error {
	_, k, err := s.aliased(ctx, in.FunctionName, "DeleteAlias")
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := tx.Aliases().Delete(store.AliasKey{Key: k, Alias: *in.Name}); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return nil // gone is success
			}
			return err
		}
		q := store.QualifiedKey{Key: k, Qualifier: *in.Name}
		if p, err := tx.Provisioned().Get(q); err == nil && fn.Reserved == nil {
			if err := s.use(tx, k.Scope(), store.Usage{Provisioned: -int64(p.Requested)}); err != nil {
				return err
			}
		}
		return dropQualifier(tx, q)
	})
}

func (s *Service) ListAliases(ctx context.Context, in *api.ListAliasesRequest) (*api.ListAliasesResponse, error) {
	f, k, err := s.aliased(ctx, in.FunctionName, "ListAliases")
	if err != nil {
		return nil, err
	}
	var after *store.AliasKey
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	out := &api.ListAliasesResponse{Aliases: []api.AliasConfiguration{}}
	if err := s.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(k); err != nil {
			return or(err, noSuchFunction(f))
		}
		if after != nil {
			after.Key = k
		}
		as, err := tx.Aliases().List(store.Range[store.AliasKey]{Within: store.Of(k), After: after})
		for _, a := range as {
			_, weighted := a.Weights[awsapi.Val(in.FunctionVersion)]
			if in.FunctionVersion == nil || a.Version == *in.FunctionVersion || weighted {
				out.Aliases = append(out.Aliases, *alias(f, &a))
			}
		}
		return err
	}); err != nil {
		return nil, err
	}
	var more bool
	if out.Aliases, more = cut(out.Aliases, n); more {
		out.NextMarker = nextMarker(true, store.AliasKey{Alias: *out.Aliases[n-1].Name})
	}
	return out, nil
}
