package lambda

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// urlName reads the function or alias of a request about URLs; $LATEST and versions have none.
func (s *Service) urlName(ctx context.Context, name, qualifier *string, action string) (arn.Function, store.QualifiedKey, error) {
	f, k, err := s.function(ctx, name, qualifier, action)
	if err == nil && (f.IsVersion() || strings.HasPrefix(f.Qualifier, "$")) {
		err = &awsapi.Error{Code: "ValidationException", Status: 400, Message: "1 validation error detected: Value '" + f.Qualifier +
			"' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern: ((?!^\\d+$)^[0-9a-zA-Z-_]+$)"}
	}
	return f, store.QualifiedKey{Key: k, Qualifier: f.Qualifier}, err
}

// address returns the URL under which the function answers: a name below the
// host by which the client reached this server.
func address(ctx context.Context, u *store.URL) *string {
	req := awsapi.RequestFrom(ctx)
	base, err := url.Parse(req.BaseURL)
	if err != nil {
		base = &url.URL{Scheme: "http"}
	}
	host, port := base.Hostname(), base.Port()
	if host == "" || net.ParseIP(host) != nil {
		host = "localhost" // addresses have no names below them
	}
	if port != "" {
		host += ":" + port
	}
	return awsapi.Ptr(base.Scheme + "://" + u.ID + ".lambda-url." + u.Region + "." + host + "/")
}

func zulu(u *store.URL) (created, modified *string) {
	return awsapi.Ptr(u.Created.UTC().Format(zuluFormat)), awsapi.Ptr(u.LastModified.UTC().Format(zuluFormat))
}

// urlID returns the label of a new URL's host name.
func urlID() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

func noFunction() *awsapi.Error { return notFound("Function does not exist") }

// urlTarget refuses functions and aliases that are not there, or that cannot have a URL.
func urlTarget(tx *store.Tx, f arn.Function) error {
	_, v, err := resolve(tx, f)
	var e *awsapi.Error
	if errors.As(err, &e) && e.Code == "ResourceNotFoundException" {
		return noFunction()
	}
	if err == nil && v.Tenancy != "" {
		return invalid("Function URLs are not supported for functions with tenant isolation.")
	}
	return err
}

func (s *Service) CreateFunctionUrlConfig(ctx context.Context, in *api.CreateFunctionUrlConfigRequest) (*api.CreateFunctionUrlConfigResponse, error) {
	f, q, err := s.urlName(ctx, in.FunctionName, in.Qualifier, "CreateFunctionUrlConfig")
	if err != nil {
		return nil, err
	}
	u := &store.URL{QualifiedKey: q, ID: urlID(), AuthType: *in.AuthType, InvokeMode: api.InvokeModeBuffered, Cors: in.Cors, Created: now()}
	u.LastModified = u.Created
	set(&u.InvokeMode, in.InvokeMode)
	if err := s.update(ctx, func(tx *store.Tx) error {
		if err := urlTarget(tx, f); err != nil {
			return err
		}
		err := tx.URLs().Insert(u)
		if errors.Is(err, store.ErrExists) {
			return conflict("Failed to create function url config for [functionArn = %s]. Error message:  FunctionUrlConfig exists for this Lambda function", f.ARN())
		}
		return err
	}); err != nil {
		return nil, err
	}
	made, _ := zulu(u)
	return &api.CreateFunctionUrlConfigResponse{
		FunctionUrl: address(ctx, u), FunctionArn: awsapi.Ptr(f.ARN()), AuthType: awsapi.Ptr(u.AuthType), Cors: u.Cors, CreationTime: made, InvokeMode: in.InvokeMode,
	}, nil
}

func (s *Service) GetFunctionUrlConfig(ctx context.Context, in *api.GetFunctionUrlConfigRequest) (*api.GetFunctionUrlConfigResponse, error) {
	f, q, err := s.urlName(ctx, in.FunctionName, in.Qualifier, "GetFunctionUrlConfig")
	if err != nil {
		return nil, err
	}
	var u *store.URL
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		u, err = tx.URLs().Get(q)
		return or(err, noSuchThing())
	}); err != nil {
		return nil, err
	}
	made, changed := zulu(u)
	return &api.GetFunctionUrlConfigResponse{
		FunctionUrl: address(ctx, u), FunctionArn: awsapi.Ptr(f.ARN()), AuthType: awsapi.Ptr(u.AuthType), Cors: u.Cors,
		CreationTime: made, LastModifiedTime: changed, InvokeMode: awsapi.Ptr(u.InvokeMode),
	}, nil
}

func (s *Service) UpdateFunctionUrlConfig(ctx context.Context, in *api.UpdateFunctionUrlConfigRequest) (*api.UpdateFunctionUrlConfigResponse, error) {
	f, q, err := s.urlName(ctx, in.FunctionName, in.Qualifier, "UpdateFunctionUrlConfig")
	if err != nil {
		return nil, err
	}
	var u *store.URL
	if err := s.update(ctx, func(tx *store.Tx) error {
		if err := urlTarget(tx, f); err != nil {
			return err
		}
		var err error
		if u, err = tx.URLs().Get(q); err != nil {
			return or(err, noSuchThing())
		}
		set(&u.AuthType, in.AuthType)
		set(&u.InvokeMode, in.InvokeMode)
		if in.Cors != nil {
			u.Cors = in.Cors
		}
		u.LastModified = now()
		return tx.URLs().Put(u)
	}); err != nil {
		return nil, err
	}
	made, changed := zulu(u)
	return &api.UpdateFunctionUrlConfigResponse{
		FunctionUrl: address(ctx, u), FunctionArn: awsapi.Ptr(f.ARN()), AuthType: awsapi.Ptr(u.AuthType), Cors: u.Cors,
		CreationTime: made, LastModifiedTime: changed, InvokeMode: in.InvokeMode,
	}, nil
}

func (s *Service) DeleteFunctionUrlConfig(ctx context.Context, in *api.DeleteFunctionUrlConfigRequest) error {
	_, q, err := s.urlName(ctx, in.FunctionName, in.Qualifier, "DeleteFunctionUrlConfig")
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *store.Tx) error { return or(tx.URLs().Delete(q), noSuchThing()) })
}

func (s *Service) ListFunctionUrlConfigs(ctx context.Context, in *api.ListFunctionUrlConfigsRequest) (*api.ListFunctionUrlConfigsResponse, error) {
	f, k, err := s.function(ctx, in.FunctionName, nil, "ListFunctionUrlConfigs")
	if err != nil {
		return nil, err
	}
	var after *store.QualifiedKey
	n, err := page(in.MaxItems, maxPage, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	out := &api.ListFunctionUrlConfigsResponse{FunctionUrlConfigs: []api.FunctionUrlConfig{}}
	if err := s.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(k); err != nil {
			return or(err, noFunction())
		}
		if after != nil {
			after.Key = k
		}
		us, err := tx.URLs().List(store.Range[store.QualifiedKey]{Within: store.Of(k), After: after, Limit: n + 1})
		us, more := cut(us, n)
		for _, u := range us {
			made, changed := zulu(&u)
			out.FunctionUrlConfigs = append(out.FunctionUrlConfigs, api.FunctionUrlConfig{
				FunctionUrl: address(ctx, &u), FunctionArn: awsapi.Ptr(f.WithQualifier(u.Qualifier).ARN()), AuthType: awsapi.Ptr(u.AuthType), Cors: u.Cors,
				CreationTime: made, LastModifiedTime: changed, InvokeMode: awsapi.Ptr(u.InvokeMode),
			})
		}
		if more {
			out.NextMarker = nextMarker(true, store.QualifiedKey{Qualifier: us[n-1].Qualifier})
		}
		return err
	}); err != nil {
		return nil, err
	}
	return out, nil
}
