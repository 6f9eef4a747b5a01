package lambda

import (
	"context"
	"maps"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// tagged reads what a tag operation names, and returns its tags and how to
// write them. An empty map is never written: a record without tags has nil.
func tagged(ctx context.Context, tx *store.Tx, name string) (tags map[string]string, write func(map[string]string) error, err error) {
	req := awsapi.RequestFrom(ctx)
	kind, id, a, ok := arn.ParseResource(name)
	if !ok {
		return nil, nil, invalid("Invalid resource ARN: %s", name)
	}
	if a.AccountID != req.AccountID {
		return nil, nil, arn.Denied(req, "lambda:TagResource", name)
	}
	if a.Region != req.Region {
		return nil, nil, notFound("Functions from '%s' are not reachable in this region ('%s')", a.Region, req.Region)
	}
	k := store.Key{AccountID: a.AccountID, Region: a.Region, Name: id}
	orNil := func(tags map[string]string) map[string]string {
		if len(tags) == 0 {
			return nil
		}
		return tags
	}
	switch kind {
	case arn.KindFunction:
		f, _ := arn.SplitFunction(name)
		if f.Qualifier != "" {
			return nil, nil, invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
		}
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return nil, nil, or(err, notFound("Function not found: %s", name))
		}
		return fn.Tags, func(tags map[string]string) error {
			fn.Tags = orNil(tags)
			fn.Latest.RevisionID = uuid.NewString()
			return tx.Functions().Put(fn)
		}, nil
	case arn.KindEventSourceMapping:
		m, err := tx.Mappings().Get(k)
		if err != nil {
			return nil, nil, or(err, noSuchThing())
		}
		return m.Tags, func(tags map[string]string) error { m.Tags = orNil(tags); return tx.Mappings().Put(m) }, nil
	case arn.KindCodeSigningConfig:
		c, err := tx.CodeSignings().Get(k)
		if err != nil {
			return nil, nil, or(err, noSuchSigningConfig(name))
		}
		return c.Tags, func(tags map[string]string) error { c.Tags = orNil(tags); return tx.CodeSignings().Put(c) }, nil
	case arn.KindCapacityProvider:
		c, err := tx.Capacities().Get(k)
		if err != nil {
			return nil, nil, or(err, noSuchThing())
		}
		return c.Tags, func(tags map[string]string) error { c.Tags = orNil(tags); return tx.Capacities().Put(c) }, nil
	}
	return nil, nil, invalid("Tags are not supported for resources of the type %s.", kind)
}

func (s *Service) TagResource(ctx context.Context, in *api.TagResourceRequest) error {
	if len(in.Tags) == 0 {
		return invalid("An error occurred and the request cannot be processed.")
	}
	return s.update(ctx, func(tx *store.Tx) error {
		tags, write, err := tagged(ctx, tx, *in.Resource)
		if err != nil {
			return err
		}
		if tags == nil {
			tags = map[string]string{}
		}
		maps.Copy(tags, in.Tags)
		if len(tags) > s.quotas.Tags {
			return invalid("Number of tags exceeds resource tag limit.")
		}
		return write(tags)
	})
}

func (s *Service) UntagResource(ctx context.Context, in *api.UntagResourceRequest) error {
	return s.update(ctx, func(tx *store.Tx) error {
		tags, write, err := tagged(ctx, tx, *in.Resource)
		if err != nil {
			return err
		}
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
		return write(tags)
	})
}

func (s *Service) ListTags(ctx context.Context, in *api.ListTagsRequest) (*api.ListTagsResponse, error) {
	out := &api.ListTagsResponse{}
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		out.Tags, _, err = tagged(ctx, tx, *in.Resource)
		return err
	})
	if err != nil {
		return nil, err
	}
	if out.Tags == nil {
		out.Tags = map[string]string{}
	}
	return out, nil
}
