package lambda

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// changeable reads a function that a request wants to change, and says why it cannot be changed now.
func changeable(tx *store.Tx, f arn.Function, revision *string) (*store.Function, error) {
	fn, err := tx.Functions().Get(key(f))
	if err != nil {
		return nil, or(err, noSuchFunction(f.WithQualifier("")))
	}
	if err := checkRevision(revision, fn.Latest.RevisionID, byFunction); err != nil {
		return nil, err
	}
	return fn, checkIdle(f, &fn.Latest)
}

// checkIdle refuses changes while another is being made.
func checkIdle(f arn.Function, v *store.Version) error {
	if v.State == api.StatePending {
		return conflict("The operation cannot be performed at this time. The function is currently in the following state: %s", v.State)
	}
	if v.UpdateStatus == api.LastUpdateStatusInProgress {
		return conflict("The operation cannot be performed at this time. An update is in progress for resource: %s", f.Unqualified())
	}
	return nil
}

// changed notes in the record that $LATEST is being changed, and in the
// database that this is to be finished.
func (s *Service) changed(tx *store.Tx, fn *store.Function) error {
	v := &fn.Latest
	v.LastModified, v.RevisionID = now(), uuid.NewString()
	v.UpdateStatus, v.UpdateReason, v.UpdateReasonCode = api.LastUpdateStatusInProgress, creating, "Creating"
	if err := tx.Functions().Put(fn); err != nil {
		return err
	}
	return tx.Tasks().Put(&store.Task{QualifiedKey: store.QualifiedKey{Key: fn.Key, Qualifier: store.Latest}, Kind: taskActivate, Revision: v.RevisionID})
}

func (s *Service) UpdateFunctionConfiguration(ctx context.Context, in *api.UpdateFunctionConfigurationRequest) (*api.FunctionConfiguration, error) {
	f, k, err := s.function(ctx, in.FunctionName, nil, "UpdateFunctionConfiguration")
	if err != nil {
		return nil, err
	}
	if f.Qualifier != "" && f.Qualifier != store.Latest {
		return nil, qualifiedNotAllowed()
	}
	if in.Role != nil {
		if err := s.checkOutside(ctx, &store.Version{Role: *in.Role}); err != nil {
			return nil, err
		}
	}
	var out *api.FunctionConfiguration
	err = s.update(ctx, func(tx *store.Tx) error {
		fn, err := changeable(tx, f, in.RevisionId)
		if err != nil {
			return err
		}
		if fn.Latest.PackageType == api.PackageTypeImage && (in.Runtime != nil || in.Handler != nil || len(in.Layers) > 0) {
			return invalid("Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.")
		}
		if err := s.apply(f, &fn.Latest, settingsOfUpdate(in)); err != nil {
			return err
		}
		if err := s.resolveLayers(ctx, tx, &fn.Latest, in.Layers); err != nil {
			return err
		}
		if err := s.checkReferences(tx, fn, &fn.Latest); err != nil {
			return err
		}
		if err := s.checkSize(&fn.Latest); err != nil {
			return err
		}
		if err := s.changed(tx, fn); err != nil {
			return err
		}
		out = configuration(f.WithQualifier(""), &fn.Latest)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.begin(store.TaskKey{QualifiedKey: store.QualifiedKey{Key: k, Qualifier: store.Latest}, Kind: taskActivate})
	return out, nil
}

func (s *Service) UpdateFunctionCode(ctx context.Context, in *api.UpdateFunctionCodeRequest) (*api.FunctionConfiguration, error) {
	f, k, err := s.function(ctx, in.FunctionName, nil, "UpdateFunctionCode")
	if err != nil {
		return nil, err
	}
	if f.Qualifier != "" && f.Qualifier != store.Latest {
		return nil, qualifiedNotAllowed()
	}
	src := source{zip: in.ZipFile, bucket: in.S3Bucket, key: in.S3Key, version: in.S3ObjectVersion, mode: in.S3ObjectStorageMode, image: in.ImageUri, kms: in.SourceKMSKeyArn, updates: true}
	if err := s.view(ctx, func(tx *store.Tx) error {
		fn, err := changeable(tx, f, in.RevisionId)
		if err == nil {
			src.packageType = fn.Latest.PackageType
		}
		return err
	}); err != nil {
		return nil, err
	}
	code, err := s.fetch(ctx, src)
	if err != nil {
		return nil, err
	}
	var out *api.FunctionConfiguration
	var published string
	err = s.update(ctx, func(tx *store.Tx) error {
		published = ""
		fn, err := changeable(tx, f, in.RevisionId)
		if err != nil {
			return err
		}
		if in.PublishTo != nil && fn.Latest.CapacityProvider == nil {
			return invalid("PublishTo is supported only for functions with a capacity provider.")
		}
		size := code.Size - fn.Latest.Code.Size
		fn.Latest.Code = code
		if len(in.Architectures) > 0 {
			fn.Latest.Architecture = in.Architectures[0]
		}
		if err := errors.Join(s.checkSize(&fn.Latest), checkSigned(tx, fn)); err != nil {
			return err
		}
		if awsapi.Val(in.DryRun) {
			out = configuration(f.WithQualifier(""), &fn.Latest)
			return nil
		}
		if awsapi.Val(in.Publish) {
			v, err := s.publish(tx, fn, fn.Latest.Description, true)
			if err != nil {
				return err
			}
			published = v.Number
			out = configuration(f.WithQualifier(v.Number), v)
		}
		if err := s.changed(tx, fn); err != nil {
			return err
		}
		if out == nil || published == "" {
			out = configuration(f.WithQualifier(""), &fn.Latest)
		}
		if size == 0 {
			return nil
		}
		return s.use(tx, k.Scope(), store.Usage{CodeSize: size})
	})
	if err != nil || awsapi.Val(in.DryRun) {
		return out, err
	}
	s.begin(store.TaskKey{QualifiedKey: store.QualifiedKey{Key: k, Qualifier: store.Latest}, Kind: taskActivate})
	if published != "" {
		s.begin(store.TaskKey{QualifiedKey: store.QualifiedKey{Key: k, Qualifier: published}, Kind: taskActivate})
	}
	return out, nil
}
