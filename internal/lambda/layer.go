package lambda

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

func layerVersionKey(l arn.Layer, number int64) store.VersionKey {
	return store.VersionKey{Key: store.Key{AccountID: l.AccountID, Region: l.Region, Name: l.Name}, Number: number}
}

// layerName reads a layer's name or ARN; validation has seen to its form.
func layerName(ctx context.Context, name *string) (arn.Layer, error) {
	req := awsapi.RequestFrom(ctx)
	l, ok := arn.ParseLayer(awsapi.Val(name), req)
	if !ok {
		return arn.Layer{}, invalid("Layer name %s is invalid.", awsapi.Val(name))
	}
	if l.Region != req.Region {
		return arn.Layer{}, notFound("Layers from '%s' are not reachable in this region ('%s')", l.Region, req.Region)
	}
	return l, nil
}

const createdFormat = "2006-01-02T15:04:05.000-0700"

func created(t time.Time) *string { return awsapi.Ptr(t.UTC().Format(createdFormat)) }

// layerVersion reads a version of a layer. One of another account is shown to those whom its policy allows.
func (s *Service) layerVersion(ctx context.Context, tx *store.Tx, l arn.Layer, number int64, action string) (*store.LayerVersion, error) {
	if number < 1 {
		return nil, invalid("Layer Version Cannot be less than 1")
	}
	req := awsapi.RequestFrom(ctx)
	v, err := tx.LayerVersions().Get(layerVersionKey(l, number))
	if l.AccountID != req.AccountID && (errors.Is(err, store.ErrNotFound) || err == nil && !allows(v.Policy, req.AccountID, action, l.Version(number))) {
		return nil, arn.Denied(req, action, l.Version(number))
	}
	return v, err
}

func (s *Service) content(ctx context.Context, v *store.LayerVersion) (*api.LayerVersionContentOutput, error) {
	url, err := s.location(ctx, v.Code.Hash)
	if err != nil {
		return nil, err
	}
	return &api.LayerVersionContentOutput{
		CodeSha256: awsapi.Ptr(v.Code.SHA256), CodeSize: awsapi.Ptr(v.Code.Size), Location: awsapi.Ptr(url), ResolvedS3Object: v.Code.S3,
	}, nil
}

func (s *Service) PublishLayerVersion(ctx context.Context, in *api.PublishLayerVersionRequest) (*api.PublishLayerVersionResponse, error) {
	l, err := layerName(ctx, in.LayerName)
	if err != nil {
		return nil, err
	}
	if l.AccountID != awsapi.RequestFrom(ctx).AccountID {
		return nil, arn.Denied(awsapi.RequestFrom(ctx), "lambda:PublishLayerVersion", l.ARN())
	}
	c, err := s.fetch(ctx, source{
		zip: in.Content.ZipFile, bucket: in.Content.S3Bucket, key: in.Content.S3Key, version: in.Content.S3ObjectVersion, mode: in.Content.S3ObjectStorageMode,
		packageType: api.PackageTypeZip,
	})
	if err != nil {
		return nil, err
	}
	v := &store.LayerVersion{
		Code: c, Created: now(), Description: awsapi.Val(in.Description), License: awsapi.Val(in.LicenseInfo),
		Runtimes: in.CompatibleRuntimes, Architectures: in.CompatibleArchitectures,
	}
	err = s.update(ctx, func(tx *store.Tx) error {
		k := layerVersionKey(l, 0).Key
		rec, err := tx.Layers().Get(k)
		if errors.Is(err, store.ErrNotFound) {
			rec = &store.Layer{Key: k}
			// Whoever loses against another first version reads it after that one has committed.
			if err := tx.Layers().Insert(rec); errors.Is(err, store.ErrExists) {
				rec, err = tx.Layers().Get(k)
				if err != nil {
					return err
				}
			} else if err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		rec.LastVersion++
		v.VersionKey = layerVersionKey(l, rec.LastVersion)
		if err := errors.Join(tx.Layers().Put(rec), tx.LayerVersions().Insert(v)); err != nil {
			return err
		}
		return s.use(tx, k.Scope(), store.Usage{CodeSize: c.Size})
	})
	if err != nil {
		return nil, err
	}
	content, err := s.content(ctx, v)
	if err != nil {
		return nil, err
	}
	return &api.PublishLayerVersionResponse{
		LayerArn: awsapi.Ptr(l.ARN()), LayerVersionArn: awsapi.Ptr(l.Version(v.Number)), Version: awsapi.Ptr(v.Number), Content: content,
		Description: awsapi.Ptr(v.Description), CreatedDate: created(v.Created), LicenseInfo: ptr(v.License),
		CompatibleRuntimes: v.Runtimes, CompatibleArchitectures: v.Architectures,
	}, nil
}

func (s *Service) layerAnswer(ctx context.Context, l arn.Layer, number int64) (*api.GetLayerVersionResponse, error) {
	var v *store.LayerVersion
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		v, err = s.layerVersion(ctx, tx, l, number, "lambda:GetLayerVersion")
		return or(err, noSuchThing())
	}); err != nil {
		return nil, err
	}
	content, err := s.content(ctx, v)
	if err != nil {
		return nil, err
	}
	return &api.GetLayerVersionResponse{
		LayerArn: awsapi.Ptr(l.ARN()), LayerVersionArn: awsapi.Ptr(l.Version(v.Number)), Version: awsapi.Ptr(v.Number), Content: content,
		Description: awsapi.Ptr(v.Description), CreatedDate: created(v.Created), LicenseInfo: ptr(v.License),
		CompatibleRuntimes: v.Runtimes, CompatibleArchitectures: v.Architectures,
	}, nil
}

func (s *Service) GetLayerVersion(ctx context.Context, in *api.GetLayerVersionRequest) (*api.GetLayerVersionResponse, error) {
	l, err := layerName(ctx, in.LayerName)
	if err != nil {
		return nil, err
	}
	return s.layerAnswer(ctx, l, *in.VersionNumber)
}

func (s *Service) GetLayerVersionByArn(ctx context.Context, in *api.GetLayerVersionByArnRequest) (*api.GetLayerVersionResponse, error) {
	l, number, ok := arn.ParseLayerVersion(*in.Arn)
	if !ok {
		return nil, noSuchThing()
	}
	return s.layerAnswer(ctx, l, number)
}

func (s *Service) DeleteLayerVersion(ctx context.Context, in *api.DeleteLayerVersionRequest) error {
	l, err := layerName(ctx, in.LayerName)
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *store.Tx) error {
		v, err := s.layerVersion(ctx, tx, l, *in.VersionNumber, "lambda:DeleteLayerVersion")
		if errors.Is(err, store.ErrNotFound) {
			return nil // gone is success
		}
		if err != nil {
			return err
		}
		if err := tx.LayerVersions().Delete(v.VersionKey); err != nil {
			return err
		}
		return s.use(tx, v.Scope(), store.Usage{CodeSize: -v.Code.Size})
	})
}

// compatible says whether v is for the runtime and architecture asked for. A version
// that says nothing is for none in particular, and is not listed for one.
func compatible(v *store.LayerVersion, runtime, architecture *string) bool {
	return (runtime == nil || slices.Contains(v.Runtimes, *runtime)) &&
		(architecture == nil || slices.Contains(v.Architectures, *architecture))
}

func layerItem(l arn.Layer, v *store.LayerVersion) api.LayerVersionsListItem {
	return api.LayerVersionsListItem{
		LayerVersionArn: awsapi.Ptr(l.Version(v.Number)), Version: awsapi.Ptr(v.Number), Description: awsapi.Ptr(v.Description),
		CreatedDate: created(v.Created), CompatibleRuntimes: v.Runtimes, CompatibleArchitectures: v.Architectures, LicenseInfo: ptr(v.License),
	}
}

func (s *Service) ListLayerVersions(ctx context.Context, in *api.ListLayerVersionsRequest) (*api.ListLayerVersionsResponse, error) {
	l, err := layerName(ctx, in.LayerName)
	if err != nil {
		return nil, err
	}
	if l.AccountID != awsapi.RequestFrom(ctx).AccountID {
		return nil, arn.Denied(awsapi.RequestFrom(ctx), "lambda:ListLayerVersions", l.ARN())
	}
	var before *store.VersionKey
	n, err := page(in.MaxItems, maxPage, in.Marker, &before)
	if err != nil {
		return nil, err
	}
	out := &api.ListLayerVersionsResponse{LayerVersions: []api.LayerVersionsListItem{}}
	if err := s.view(ctx, func(tx *store.Tx) error {
		vs, err := tx.LayerVersions().List(store.Range[store.VersionKey]{Within: store.Of(layerVersionKey(l, 0).Key)})
		for _, v := range slices.Backward(vs) { // newest first
			if (before == nil || v.Number < before.Number) && compatible(&v, in.CompatibleRuntime, in.CompatibleArchitecture) {
				out.LayerVersions = append(out.LayerVersions, layerItem(l, &v))
			}
		}
		return err
	}); err != nil {
		return nil, err
	}
	var more bool
	if out.LayerVersions, more = cut(out.LayerVersions, n); more {
		out.NextMarker = nextMarker(true, store.VersionKey{Number: *out.LayerVersions[n-1].Version})
	}
	return out, nil
}

func (s *Service) ListLayers(ctx context.Context, in *api.ListLayersRequest) (*api.ListLayersResponse, error) {
	var after *store.Key
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	if after != nil {
		*after = resource(ctx, after.Name)
	}
	req := awsapi.RequestFrom(ctx)
	out := &api.ListLayersResponse{Layers: []api.LayersListItem{}}
	if err := s.view(ctx, func(tx *store.Tx) error {
		for len(out.Layers) <= n {
			ls, err := tx.Layers().List(store.Range[store.Key]{Within: store.In(scope(ctx)), After: after, Limit: n + 1})
			if err != nil || len(ls) == 0 {
				return err
			}
			for _, rec := range ls {
				l := arn.Layer{Partition: req.Partition, Region: rec.Region, AccountID: rec.AccountID, Name: rec.Name}
				vs, err := tx.LayerVersions().List(store.Range[store.VersionKey]{Within: store.Of(rec.Key)})
				if err != nil {
					return err
				}
				for _, v := range slices.Backward(vs) {
					if compatible(&v, in.CompatibleRuntime, in.CompatibleArchitecture) {
						out.Layers = append(out.Layers, api.LayersListItem{LayerName: awsapi.Ptr(l.Name), LayerArn: awsapi.Ptr(l.ARN()), LatestMatchingVersion: awsapi.Ptr(layerItem(l, &v))})
						break
					}
				}
				after = &rec.Key
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	var more bool
	if out.Layers, more = cut(out.Layers, n); more {
		out.NextMarker = nextMarker(true, store.Key{Name: *out.Layers[n-1].LayerName})
	}
	return out, nil
}

func (s *Service) AddLayerVersionPermission(ctx context.Context, in *api.AddLayerVersionPermissionRequest) (*api.AddLayerVersionPermissionResponse, error) {
	l, err := layerName(ctx, in.LayerName)
	if err != nil {
		return nil, err
	}
	st := statement{Sid: *in.StatementId, Effect: "Allow", Action: *in.Action, Resource: l.Version(*in.VersionNumber)}
	if st.Principal, err = principal(awsapi.RequestFrom(ctx).Partition, *in.Principal); err != nil {
		return nil, err
	}
	if in.OrganizationId != nil {
		if *in.Principal != "*" {
			return nil, invalid("OrganizationId is supported only with the principal *.")
		}
		st.Condition = conditions{"StringEquals": {"aws:PrincipalOrgID": *in.OrganizationId}}
	}
	doc := st.json()
	var v *store.LayerVersion
	if err := s.update(ctx, func(tx *store.Tx) (err error) {
		if v, err = s.layerVersion(ctx, tx, l, *in.VersionNumber, "lambda:AddLayerVersionPermission"); err != nil {
			return or(err, notFound("Layer version %s does not exist.", l.Version(*in.VersionNumber)))
		}
		if err := checkRevision(in.RevisionId, v.PolicyID, byLayer); err != nil {
			return err
		}
		if v.Policy, err = s.addStatement(v.Policy, store.Statement{ID: st.Sid, JSON: doc}); err != nil {
			return err
		}
		v.PolicyID = uuid.NewString()
		return tx.LayerVersions().Put(v)
	}); err != nil {
		return nil, err
	}
	return &api.AddLayerVersionPermissionResponse{Statement: awsapi.Ptr(string(doc)), RevisionId: awsapi.Ptr(v.PolicyID)}, nil
}

func (s *Service) RemoveLayerVersionPermission(ctx context.Context, in *api.RemoveLayerVersionPermissionRequest) error {
	l, err := layerName(ctx, in.LayerName)
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *store.Tx) error {
		v, err := s.layerVersion(ctx, tx, l, *in.VersionNumber, "lambda:RemoveLayerVersionPermission")
		if err != nil {
			return or(err, notFound("Layer version %s does not exist.", l.Version(*in.VersionNumber)))
		}
		if err := checkRevision(in.RevisionId, v.PolicyID, byLayer); err != nil {
			return err
		}
		if v.Policy, err = removeStatement(v.Policy, *in.StatementId); err != nil {
			return err
		}
		v.PolicyID = uuid.NewString()
		return tx.LayerVersions().Put(v)
	})
}

func (s *Service) GetLayerVersionPolicy(ctx context.Context, in *api.GetLayerVersionPolicyRequest) (*api.GetLayerVersionPolicyResponse, error) {
	l, err := layerName(ctx, in.LayerName)
	if err != nil {
		return nil, err
	}
	var v *store.LayerVersion
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		v, err = s.layerVersion(ctx, tx, l, *in.VersionNumber, "lambda:GetLayerVersionPolicy")
		return or(err, notFound("Layer version %s does not exist.", l.Version(*in.VersionNumber)))
	}); err != nil {
		return nil, err
	}
	if len(v.Policy) == 0 {
		return nil, notFound("No policy is associated with the given resource.")
	}
	return &api.GetLayerVersionPolicyResponse{Policy: awsapi.Ptr(document("default", v.Policy)), RevisionId: awsapi.Ptr(v.PolicyID)}, nil
}
