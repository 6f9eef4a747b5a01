package lambda

import (
	"context"
	"errors"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// eventInvokeName reads the function, version or alias of a request; without a qualifier it is $LATEST.
func (s *Service) eventInvokeName(ctx context.Context, name, qualifier *string, action string) (arn.Function, store.QualifiedKey, error) {
	f, k, err := s.function(ctx, name, qualifier, action)
	if f.Qualifier == "" {
		f.Qualifier = store.Latest
	}
	return f, store.QualifiedKey{Key: k, Qualifier: f.Qualifier}, err
}

func noEventInvoke(f arn.Function) *awsapi.Error {
	return notFound("The function %s doesn't have an EventInvokeConfig", f.ARN())
}

func eventInvoke(f arn.Function, e *store.EventInvoke) *api.FunctionEventInvokeConfig {
	return &api.FunctionEventInvokeConfig{
		FunctionArn: awsapi.Ptr(f.WithQualifier(e.Qualifier).ARN()), LastModified: awsapi.Ptr(e.LastModified),
		MaximumEventAgeInSeconds: e.MaxAgeSeconds, MaximumRetryAttempts: e.MaxRetries,
		DestinationConfig: &api.DestinationConfig{OnSuccess: &api.OnSuccess{Destination: ptr(e.OnSuccess)}, OnFailure: &api.OnFailure{Destination: ptr(e.OnFailure)}},
	}
}

// eventInvokable refuses functions, versions and aliases that are not there.
func eventInvokable(tx *store.Tx, f arn.Function) error {
	_, _, err := resolve(tx, f)
	var e *awsapi.Error
	if errors.As(err, &e) && e.Code == "ResourceNotFoundException" {
		return notFound("The function doesn't exist.")
	}
	return err
}

// applyDestinations writes the destinations that a request gives, and refuses those that are none.
func applyDestinations(tx *store.Tx, f arn.Function, e *store.EventInvoke, in *api.DestinationConfig) error {
	if in == nil {
		return nil
	}
	if in.OnSuccess != nil && in.OnSuccess.Destination != nil {
		e.OnSuccess = *in.OnSuccess.Destination
	}
	if in.OnFailure != nil && in.OnFailure.Destination != nil {
		e.OnFailure = *in.OnFailure.Destination
	}
	for _, d := range []string{e.OnSuccess, e.OnFailure} {
		if d == "" {
			continue
		}
		a, ok := arn.Parse(d)
		if !ok {
			return invalid("The destination ARN %s is invalid.", d)
		}
		switch a.Service {
		case "sqs", "sns", "events", "s3":
		case "lambda":
			to, ok := arn.SplitFunction(d)
			if !ok {
				return invalid("The destination ARN %s is invalid.", d)
			}
			if to.Unqualified() == f.Unqualified() {
				return invalid("You can't specify the function as a destination for itself.")
			}
			if _, err := tx.Functions().Get(key(to)); err != nil {
				return or(err, invalid("The destination ARN %s is invalid.", d))
			}
		default:
			success, failure := "null", "null"
			if e.OnSuccess != "" {
				success = "OnSuccess(destination=" + e.OnSuccess + ")"
			}
			if e.OnFailure != "" {
				failure = "OnFailure(destination=" + e.OnFailure + ")"
			}
			return invalid("The provided destination config DestinationConfig(onSuccess=%s, onFailure=%s) is invalid.", success, failure)
		}
	}
	return nil
}

func (s *Service) PutFunctionEventInvokeConfig(ctx context.Context, in *api.PutFunctionEventInvokeConfigRequest) (*api.FunctionEventInvokeConfig, error) {
	f, q, err := s.eventInvokeName(ctx, in.FunctionName, in.Qualifier, "PutFunctionEventInvokeConfig")
	if err != nil {
		return nil, err
	}
	if in.MaximumEventAgeInSeconds == nil && in.MaximumRetryAttempts == nil && in.DestinationConfig == nil {
		return nil, invalid("You must specify at least one of error handling or destination setting.")
	}
	e := &store.EventInvoke{QualifiedKey: q, LastModified: now(), MaxAgeSeconds: in.MaximumEventAgeInSeconds, MaxRetries: in.MaximumRetryAttempts}
	if err := s.update(ctx, func(tx *store.Tx) error {
		if err := eventInvokable(tx, f); err != nil {
			return err
		}
		if err := applyDestinations(tx, f, e, in.DestinationConfig); err != nil {
			return err
		}
		return tx.EventInvokes().Put(e)
	}); err != nil {
		return nil, err
	}
	return eventInvoke(f, e), nil
}

func (s *Service) UpdateFunctionEventInvokeConfig(ctx context.Context, in *api.UpdateFunctionEventInvokeConfigRequest) (*api.FunctionEventInvokeConfig, error) {
	f, q, err := s.eventInvokeName(ctx, in.FunctionName, in.Qualifier, "UpdateFunctionEventInvokeConfig")
	if err != nil {
		return nil, err
	}
	if in.MaximumEventAgeInSeconds == nil && in.MaximumRetryAttempts == nil && in.DestinationConfig == nil {
		return nil, invalid("You must specify at least one of error handling or destination setting.")
	}
	var e *store.EventInvoke
	if err := s.update(ctx, func(tx *store.Tx) error {
		if err := eventInvokable(tx, f); err != nil {
			return err
		}
		var err error
		if e, err = tx.EventInvokes().Get(q); err != nil {
			return or(err, noEventInvoke(f))
		}
		if in.MaximumEventAgeInSeconds != nil {
			e.MaxAgeSeconds = in.MaximumEventAgeInSeconds
		}
		if in.MaximumRetryAttempts != nil {
			e.MaxRetries = in.MaximumRetryAttempts
		}
		if err := applyDestinations(tx, f, e, in.DestinationConfig); err != nil {
			return err
		}
		e.LastModified = now()
		return tx.EventInvokes().Put(e)
	}); err != nil {
		return nil, err
	}
	return eventInvoke(f, e), nil
}

func (s *Service) GetFunctionEventInvokeConfig(ctx context.Context, in *api.GetFunctionEventInvokeConfigRequest) (*api.FunctionEventInvokeConfig, error) {
	f, q, err := s.eventInvokeName(ctx, in.FunctionName, in.Qualifier, "GetFunctionEventInvokeConfig")
	if err != nil {
		return nil, err
	}
	var e *store.EventInvoke
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		e, err = tx.EventInvokes().Get(q)
		return or(err, noEventInvoke(f))
	}); err != nil {
		return nil, err
	}
	return eventInvoke(f, e), nil
}

func (s *Service) DeleteFunctionEventInvokeConfig(ctx context.Context, in *api.DeleteFunctionEventInvokeConfigRequest) error {
	f, q, err := s.eventInvokeName(ctx, in.FunctionName, in.Qualifier, "DeleteFunctionEventInvokeConfig")
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *store.Tx) error { return or(tx.EventInvokes().Delete(q), noEventInvoke(f)) })
}

func (s *Service) ListFunctionEventInvokeConfigs(ctx context.Context, in *api.ListFunctionEventInvokeConfigsRequest) (*api.ListFunctionEventInvokeConfigsResponse, error) {
	f, k, err := s.function(ctx, in.FunctionName, nil, "ListFunctionEventInvokeConfigs")
	if err != nil {
		return nil, err
	}
	var after *store.QualifiedKey
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	out := &api.ListFunctionEventInvokeConfigsResponse{FunctionEventInvokeConfigs: []api.FunctionEventInvokeConfig{}}
	if err := s.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(k); err != nil {
			return or(err, notFound("The function doesn't exist."))
		}
		if after != nil {
			after.Key = k
		}
		es, err := tx.EventInvokes().List(store.Range[store.QualifiedKey]{Within: store.Of(k), After: after, Limit: n + 1})
		es, more := cut(es, n)
		for _, e := range es {
			out.FunctionEventInvokeConfigs = append(out.FunctionEventInvokeConfigs, *eventInvoke(f, &e))
		}
		if more {
			out.NextMarker = nextMarker(true, store.QualifiedKey{Qualifier: es[n-1].Qualifier})
		}
		return err
	}); err != nil {
		return nil, err
	}
	return out, nil
}
