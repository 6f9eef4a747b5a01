package lambda

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

func (s *Service) PublishVersion(ctx context.Context, in *api.PublishVersionRequest) (*api.FunctionConfiguration, error) {
	f, k, err := s.function(ctx, in.FunctionName, nil, "PublishVersion")
	if err != nil {
		return nil, err
	}
	if f.Qualifier != "" && f.Qualifier != store.Latest {
		return nil, qualifiedNotAllowed()
	}
	var out *api.FunctionConfiguration
	var pending string
	err = s.update(ctx, func(tx *store.Tx) error {
		pending = ""
		fn, err := changeable(tx, f, in.RevisionId)
		if err != nil {
			return err
		}
		if in.CodeSha256 != nil && *in.CodeSha256 != "" && *in.CodeSha256 != fn.Latest.Code.SHA256 {
			return invalid("CodeSHA256 (%s) is different from current CodeSHA256 in $LATEST (%s). Please try again with the CodeSHA256 in $LATEST.", *in.CodeSha256, fn.Latest.Code.SHA256)
		}
		if in.PublishTo != nil && fn.Latest.CapacityProvider == nil {
			return invalid("PublishTo is supported only for functions with a capacity provider.")
		}
		if fn.Published == fingerprint(fn.Latest) {
			last, err := tx.Versions().Get(store.VersionKey{Key: k, Number: fn.LastVersion})
			if err == nil {
				out = configuration(f.WithQualifier(last.Config.Number), &last.Config)
				return nil
			}
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		description := fn.Latest.Description
		set(&description, in.Description)
		wait := fn.Latest.SnapStart == api.SnapStartApplyOnPublishedVersions || fn.Latest.CapacityProvider != nil
		v, err := s.publish(tx, fn, description, wait)
		if err != nil {
			return err
		}
		if wait {
			pending = v.Number
		}
		fn.Latest.RevisionID = uuid.NewString()
		out = configuration(f.WithQualifier(v.Number), v)
		return tx.Functions().Put(fn)
	})
	if err != nil {
		return nil, err
	}
	if pending != "" {
		s.begin(store.TaskKey{QualifiedKey: store.QualifiedKey{Key: k, Qualifier: pending}, Kind: taskActivate})
	}
	return out, nil
}

// publish makes $LATEST a numbered version. The caller writes fn. With pending, the
// version is still to be activated.
func (s *Service) publish(tx *store.Tx, fn *store.Function, description string, pending bool) (*store.Version, error) {
	fn.LastVersion++
	fn.Published = fingerprint(fn.Latest)
	v := fn.Latest
	v.Number = itoa(fn.LastVersion)
	v.Description = description
	v.RevisionID = uuid.NewString()
	v.LastModified = now()
	v.State, v.StateReason, v.StateReasonCode = api.StateActive, "", ""
	v.UpdateStatus, v.UpdateReason, v.UpdateReasonCode = api.LastUpdateStatusSuccessful, "", ""
	if v.CapacityProvider != nil {
		fn.LatestPublished = v.Number
	}
	if pending {
		v.State, v.StateReason, v.StateReasonCode = api.StatePending, creating, api.StateReasonCodeCreating
		v.UpdateStatus = ""
		task := &store.Task{QualifiedKey: store.QualifiedKey{Key: fn.Key, Qualifier: v.Number}, Kind: taskActivate, Revision: v.RevisionID}
		if err := tx.Tasks().Put(task); err != nil {
			return nil, err
		}
	}
	p := &store.Published{VersionKey: store.VersionKey{Key: fn.Key, Number: fn.LastVersion}, FunctionID: fn.ID, Config: v}
	if err := tx.Versions().Insert(p); err != nil {
		return nil, err
	}
	return &p.Config, s.use(tx, fn.Scope(), store.Usage{CodeSize: v.Code.Size})
}

// deleteVersion removes the version that f's qualifier names. One that is not there is no error.
func (s *Service) deleteVersion(tx *store.Tx, f arn.Function, fn *store.Function) error {
	number, err := strconv.ParseInt(f.Qualifier, 10, 64)
	if err != nil {
		return nil
	}
	k := store.VersionKey{Key: fn.Key, Number: number}
	v, err := tx.Versions().Get(k)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	as, err := tx.Aliases().List(store.Range[store.AliasKey]{Within: store.Of(fn.Key)})
	if err != nil {
		return err
	}
	var used []string
	for _, a := range as {
		if _, weighted := a.Weights[f.Qualifier]; weighted || a.Version == f.Qualifier {
			used = append(used, a.Alias)
		}
	}
	if len(used) > 0 {
		slices.Sort(used)
		return conflict("Unable to delete version because the following aliases reference it: [%s]", strings.Join(used, ", "))
	}
	if err := tx.Versions().Delete(k); err != nil {
		return err
	}
	usage := store.Usage{CodeSize: -v.Config.Code.Size}
	q := store.QualifiedKey{Key: fn.Key, Qualifier: f.Qualifier}
	if p, err := tx.Provisioned().Get(q); err == nil && fn.Reserved == nil {
		usage.Provisioned = -int64(p.Requested)
	}
	if err := dropQualifier(tx, q); err != nil {
		return err
	}
	return s.use(tx, fn.Scope(), usage)
}

// dropQualifier removes what belongs to a version or an alias.
func dropQualifier(tx *store.Tx, q store.QualifiedKey) error {
	for _, err := range []error{tx.Policies().Delete(q), tx.EventInvokes().Delete(q), tx.URLs().Delete(q), tx.Provisioned().Delete(q)} {
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	_, err := tx.Tasks().DeleteWithin(append(store.Of(q.Key), q.Qualifier))
	return err
}

func (s *Service) ListVersionsByFunction(ctx context.Context, in *api.ListVersionsByFunctionRequest) (*api.ListVersionsByFunctionResponse, error) {
	f, k, err := s.function(ctx, in.FunctionName, nil, "ListVersionsByFunction")
	if err != nil {
		return nil, err
	}
	var after *store.VersionKey
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	out := &api.ListVersionsByFunctionResponse{Versions: []api.FunctionConfiguration{}}
	err = s.view(ctx, func(tx *store.Tx) error {
		fn, err := tx.Functions().Get(k)
		if err != nil {
			return or(err, noSuchFunction(f.WithQualifier("")))
		}
		if after == nil {
			out.Versions = append(out.Versions, listed(f.WithQualifier(store.Latest), &fn.Latest))
		} else {
			after.Key = k
		}
		vs, err := tx.Versions().List(store.Range[store.VersionKey]{Within: store.Of(k), After: after, Limit: n + 1})
		for _, v := range vs {
			out.Versions = append(out.Versions, listed(f.WithQualifier(v.Config.Number), &v.Config))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var more bool
	if out.Versions, more = cut(out.Versions, n); more {
		number, _ := strconv.ParseInt(awsapi.Val(out.Versions[n-1].Version), 10, 64) // 0 for $LATEST
		out.NextMarker = nextMarker(true, store.VersionKey{Number: number})
	}
	return out, nil
}
