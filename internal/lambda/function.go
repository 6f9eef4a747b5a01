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

const maxPage = 50 // items of most lists

const creating = "The function is being created."

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func (s *Service) CreateFunction(ctx context.Context, in *api.CreateFunctionRequest) (*api.FunctionConfiguration, error) {
	f, k, err := s.function(ctx, in.FunctionName, nil, "CreateFunction")
	if err != nil {
		return nil, err
	}
	if f.Qualifier != "" && f.Qualifier != arn.Latest {
		return nil, qualifiedNotAllowed()
	}
	f.Qualifier = ""
	v := store.Version{
		Number: store.Latest, PackageType: api.PackageTypeZip, Architecture: api.ArchitectureX8664,
		MemoryMB: 128, TimeoutSeconds: 3, EphemeralMB: 512, Tracing: api.TracingModePassThrough,
		LogFormat: api.LogFormatText, LogGroup: "/aws/lambda/" + f.Name, SnapStart: api.SnapStartApplyOnNone,
		State: api.StatePending, StateReason: creating, StateReasonCode: api.StateReasonCodeCreating,
	}
	if in.PackageType != nil {
		v.PackageType = *in.PackageType
	}
	if len(in.Architectures) > 0 {
		v.Architecture = in.Architectures[0]
	}
	if in.TenancyConfig != nil {
		v.Tenancy = awsapi.Val(in.TenancyConfig.TenantIsolationMode)
	}
	if err := s.apply(f, &v, settingsOfCreate(in)); err != nil {
		return nil, err
	}
	if err := s.checkNew(in, &v); err != nil {
		return nil, err
	}
	// Before the code is taken in: the usual reasons to refuse.
	if err := s.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(k); err == nil {
			return conflict("Function already exist: %s", f.Name)
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return s.resolveLayers(ctx, tx, &v, in.Layers)
	}); err != nil {
		return nil, err
	}
	if err := s.checkOutside(ctx, &v); err != nil {
		return nil, err
	}
	if v.Code, err = s.fetch(ctx, source{
		zip: in.Code.ZipFile, bucket: in.Code.S3Bucket, key: in.Code.S3Key, version: in.Code.S3ObjectVersion, mode: in.Code.S3ObjectStorageMode,
		image: in.Code.ImageUri, kms: in.Code.SourceKMSKeyArn, packageType: v.PackageType,
	}); err != nil {
		return nil, err
	}

	v.LastModified, v.RevisionID = now(), uuid.NewString()
	made := store.Function{Key: k, ID: uuid.NewString(), Created: v.LastModified, Latest: v, CodeSigningConfigARN: awsapi.Val(in.CodeSigningConfigArn)}
	if len(in.Tags) > 0 {
		made.Tags = in.Tags
	}
	var shown *store.Version
	err = s.update(ctx, func(tx *store.Tx) error {
		fn := awsapi.Ptr(made)
		shown = &fn.Latest
		if err := s.resolveLayers(ctx, tx, &fn.Latest, in.Layers); err != nil {
			return err
		}
		if err := s.checkReferences(tx, fn, &fn.Latest); err != nil {
			return err
		}
		if err := errors.Join(s.checkSize(&fn.Latest), checkSigned(tx, fn)); err != nil {
			return err
		}
		// The function first: its row is what others who create it wait for.
		if err := tx.Functions().Insert(fn); errors.Is(err, store.ErrExists) {
			return conflict("Function already exist: %s", f.Name)
		} else if err != nil {
			return err
		}
		if awsapi.Val(in.Publish) {
			var err error
			if shown, err = s.publish(tx, fn, awsapi.Val(in.Description), true); err != nil {
				return err
			}
			if err := tx.Functions().Put(fn); err != nil {
				return err
			}
		}
		if err := s.use(tx, k.Scope(), store.Usage{Functions: 1, CodeSize: fn.Latest.Code.Size}); err != nil {
			return err
		}
		return tx.Tasks().Put(&store.Task{QualifiedKey: store.QualifiedKey{Key: k, Qualifier: store.Latest}, Kind: taskActivate, Revision: fn.Latest.RevisionID})
	})
	if err != nil {
		return nil, err
	}
	s.begin(store.TaskKey{QualifiedKey: store.QualifiedKey{Key: k, Qualifier: store.Latest}, Kind: taskActivate})
	if shown.Number != store.Latest {
		s.begin(store.TaskKey{QualifiedKey: store.QualifiedKey{Key: k, Qualifier: shown.Number}, Kind: taskActivate})
	}
	return configuration(f, shown), nil
}

// use adds d to what scope uses, and refuses what would go beyond the quota of code.
func (s *Service) use(tx *store.Tx, scope store.Scope, d store.Usage) error {
	u, err := tx.AddUsage(scope, d)
	if err == nil && d.CodeSize > 0 && u.CodeSize > s.quotas.CodeStorage {
		return api.CodeStorageExceededException("Code storage limit exceeded.")
	}
	return err
}

// resolve reads the function and the version that f means. The version's Number
// is the answer's; an alias gives that which it points to.
func resolve(tx *store.Tx, f arn.Function) (*store.Function, *store.Version, error) {
	fn, err := tx.Functions().Get(key(f))
	if err != nil {
		return nil, nil, or(err, noSuchFunction(f))
	}
	number := f.Qualifier
	switch {
	case number == "" || number == store.Latest:
		return fn, &fn.Latest, nil
	case number == "$LATEST.PUBLISHED":
		number = fn.LatestPublished
	case f.IsAlias():
		a, err := tx.Aliases().Get(store.AliasKey{Key: key(f), Alias: number})
		if err != nil {
			return nil, nil, or(err, noSuchFunction(f))
		}
		number = a.Version
	}
	if number == store.Latest {
		return fn, &fn.Latest, nil
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return nil, nil, noSuchFunction(f)
	}
	p, err := tx.Versions().Get(store.VersionKey{Key: key(f), Number: n})
	if err != nil {
		return nil, nil, or(err, noSuchFunction(f))
	}
	return fn, &p.Config, nil
}

// read resolves f. $LATEST is part of its function's record, so that one statement reads it.
func (s *Service) read(ctx context.Context, f arn.Function) (fn *store.Function, v *store.Version, err error) {
	read := s.cfg.Store.View
	if f.Qualifier == "" || f.Qualifier == store.Latest {
		read = s.cfg.Store.Read
	}
	err = read(ctx, func(tx *store.Tx) (err error) {
		fn, v, err = resolve(tx, f)
		return err
	})
	return fn, v, s.failure(err)
}

func (s *Service) GetFunction(ctx context.Context, in *api.GetFunctionRequest) (*api.GetFunctionResponse, error) {
	f, _, err := s.function(ctx, in.FunctionName, in.Qualifier, "GetFunction")
	if err != nil {
		return nil, err
	}
	fn, v, err := s.read(ctx, f)
	if err != nil {
		return nil, err
	}
	out := &api.GetFunctionResponse{Configuration: configuration(f, v)}
	if len(fn.Tags) > 0 {
		out.Tags = fn.Tags
	}
	if fn.Reserved != nil {
		out.Concurrency = &api.Concurrency{ReservedConcurrentExecutions: fn.Reserved}
	}
	if v.PackageType == api.PackageTypeImage {
		out.Code = &api.FunctionCodeLocation{RepositoryType: awsapi.Ptr("ECR"), ImageUri: awsapi.Ptr(v.Code.ImageURI), ResolvedImageUri: ptr(v.Code.ResolvedImage)}
		return out, nil
	}
	url, err := s.location(ctx, v.Code.Hash)
	if err != nil {
		return nil, err
	}
	out.Code = &api.FunctionCodeLocation{RepositoryType: awsapi.Ptr("S3"), Location: awsapi.Ptr(url), ResolvedS3Object: v.Code.S3, SourceKMSKeyArn: ptr(v.Code.KMSKeyARN)}
	return out, nil
}

func (s *Service) GetFunctionConfiguration(ctx context.Context, in *api.GetFunctionConfigurationRequest) (*api.FunctionConfiguration, error) {
	f, _, err := s.function(ctx, in.FunctionName, in.Qualifier, "GetFunctionConfiguration")
	if err != nil {
		return nil, err
	}
	_, v, err := s.read(ctx, f)
	if err != nil {
		return nil, err
	}
	return configuration(f, v), nil
}

// listKey is where a page of functions ended: at a function, or with
// FunctionVersion=ALL at one of its versions.
type listKey struct {
	Name   string
	Number int64 `json:",omitempty"` // 0 is $LATEST
}

func (s *Service) ListFunctions(ctx context.Context, in *api.ListFunctionsRequest) (*api.ListFunctionsResponse, error) {
	if in.MasterRegion != nil && in.FunctionVersion == nil {
		return nil, invalid("FunctionVersion must be ALL when MasterRegion is set.")
	}
	var after *listKey
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	req := awsapi.RequestFrom(ctx)
	if in.MasterRegion != nil && *in.MasterRegion != "ALL" && *in.MasterRegion != req.Region {
		return &api.ListFunctionsResponse{Functions: []api.FunctionConfiguration{}}, nil // functions are in their own region alone
	}
	named := func(name, qualifier string) arn.Function {
		return arn.Function{Partition: req.Partition, Region: req.Region, AccountID: req.AccountID, Name: name, Qualifier: qualifier}
	}
	out := &api.ListFunctionsResponse{Functions: []api.FunctionConfiguration{}}
	all := in.FunctionVersion != nil
	err = s.view(ctx, func(tx *store.Tx) error {
		r := store.Range[store.Key]{Within: store.In(scope(ctx)), Limit: n + 1}
		if after != nil {
			r.After = awsapi.Ptr(resource(ctx, after.Name))
			if all {
				// The rest of the function at which the page before ended.
				vs, err := tx.Versions().List(store.Range[store.VersionKey]{Within: store.Of(*r.After), After: &store.VersionKey{Key: *r.After, Number: after.Number}, Limit: n + 1})
				if err != nil {
					return err
				}
				for _, v := range vs {
					out.Functions = append(out.Functions, listed(named(v.Name, v.Config.Number), &v.Config))
				}
			}
		}
		fns, err := tx.Functions().List(r)
		if err != nil {
			return err
		}
		for _, fn := range fns {
			if len(out.Functions) > n {
				break
			}
			if !all {
				out.Functions = append(out.Functions, listed(named(fn.Name, ""), &fn.Latest))
				continue
			}
			out.Functions = append(out.Functions, listed(named(fn.Name, store.Latest), &fn.Latest))
			if fn.LastVersion == 0 {
				continue
			}
			vs, err := tx.Versions().List(store.Range[store.VersionKey]{Within: store.Of(fn.Key), Limit: n + 1})
			if err != nil {
				return err
			}
			for _, v := range vs {
				out.Functions = append(out.Functions, listed(named(fn.Name, v.Config.Number), &v.Config))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var more bool
	if out.Functions, more = cut(out.Functions, n); more {
		last := out.Functions[n-1]
		k := listKey{Name: *last.FunctionName}
		if all {
			k.Number, _ = strconv.ParseInt(*last.Version, 10, 64) // 0 for $LATEST
		}
		out.NextMarker = nextMarker(true, k)
	}
	return out, nil
}

func (s *Service) DeleteFunction(ctx context.Context, in *api.DeleteFunctionRequest) (*api.DeleteFunctionResponse, error) {
	f, k, err := s.function(ctx, in.FunctionName, in.Qualifier, "DeleteFunction")
	if err != nil {
		return nil, err
	}
	switch {
	case f.Qualifier == store.Latest:
		return nil, invalid("$LATEST version cannot be deleted without deleting the function.")
	case f.Qualifier != "" && !f.IsVersion():
		return nil, invalid("Deletion of aliases is not currently supported.")
	}
	err = s.update(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f.WithQualifier("")))
		}
		if f.Qualifier != "" {
			return s.deleteVersion(tx, f, fn)
		}
		return s.deleteFunction(tx, fn)
	})
	if err != nil {
		return nil, err
	}
	return &api.DeleteFunctionResponse{StatusCode: awsapi.Ptr(int32(204))}, nil
}

// deleteFunction removes a function with all that belongs to it. Event source
// mappings stay, as on AWS.
func (s *Service) deleteFunction(tx *store.Tx, fn *store.Function) error {
	of := store.Of(fn.Key)
	used := store.Usage{Functions: -1, CodeSize: -fn.Latest.Code.Size}
	vs, err := tx.Versions().List(store.Range[store.VersionKey]{Within: of})
	if err != nil {
		return err
	}
	for _, v := range vs {
		used.CodeSize -= v.Config.Code.Size
	}
	ps, err := tx.Provisioned().List(store.Range[store.QualifiedKey]{Within: of})
	if err != nil {
		return err
	}
	if fn.Reserved != nil {
		used.Reserved = -int64(*fn.Reserved)
	} else {
		for _, p := range ps {
			used.Provisioned -= int64(p.Requested)
		}
	}
	if err := tx.Functions().Delete(fn.Key); err != nil {
		return err
	}
	for _, remove := range []func([]any) (int64, error){
		tx.Versions().DeleteWithin, tx.Aliases().DeleteWithin, tx.Policies().DeleteWithin, tx.EventInvokes().DeleteWithin,
		tx.URLs().DeleteWithin, tx.Provisioned().DeleteWithin, tx.Tasks().DeleteWithin,
	} {
		if _, err := remove(of); err != nil {
			return err
		}
	}
	return s.use(tx, fn.Scope(), used)
}
