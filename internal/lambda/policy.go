package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/policy"
	"github.com/hearth-run/hearth/internal/store"
)

// statement is a statement of a resource policy, in AWS's order of members.
type statement struct {
	Sid       string     `json:"Sid"`
	Effect    string     `json:"Effect"`
	Principal any        `json:"Principal"` // "*", or {"AWS": …}, {"Service": …}
	Action    string     `json:"Action"`
	Resource  string     `json:"Resource"`
	Condition conditions `json:"Condition,omitempty"`
}

type conditions map[string]map[string]string

func (c conditions) add(operator, key string, value *string) {
	if value == nil {
		return
	}
	if c[operator] == nil {
		c[operator] = map[string]string{}
	}
	c[operator][key] = *value
}

// json returns the statement as policies show it.
func (s statement) json() json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("lambda: a statement always marshals: " + err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}

// principal returns a Principal member for what AddPermission takes: "*", an
// account, an ARN, or a service.
func principal(partition, p string) (any, error) {
	switch {
	case p == "*":
		return "*", nil
	case arn.IsAccountID(p):
		return map[string]string{"AWS": "arn:" + partition + ":iam::" + p + ":root"}, nil
	case strings.HasPrefix(p, "arn:"):
		if a, ok := arn.Parse(p); ok && (a.Service == "iam" || a.Service == "sts") && arn.IsAccountID(a.AccountID) {
			return map[string]string{"AWS": p}, nil
		}
	case isService(p):
		return map[string]string{"Service": p}, nil
	}
	return nil, invalid("The provided principal was invalid. Please check the principal and try again.")
}

func isService(p string) bool {
	for _, suffix := range []string{".amazonaws.com", ".amazonaws.com.cn", ".amazon.com"} {
		if name, ok := strings.CutSuffix(p, suffix); ok && name != "" {
			return !strings.ContainsAny(name, "/: \t*")
		}
	}
	return false
}

// document returns a policy of the statements.
func document(id string, ss []store.Statement) string {
	var b strings.Builder
	b.WriteString(`{"Version":"2012-10-17","Id":` + quote(id) + `,"Statement":[`)
	for i, st := range ss {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(st.JSON)
	}
	b.WriteString("]}")
	return b.String()
}

func (s *Service) addStatement(ss []store.Statement, st store.Statement) ([]store.Statement, error) {
	if slices.ContainsFunc(ss, func(x store.Statement) bool { return x.ID == st.ID }) {
		return nil, conflict("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", st.ID)
	}
	ss = append(ss, st)
	if size := int64(len(document("default", ss))); size > s.quotas.Policy {
		return nil, api.PolicyLengthExceededException("The final policy size (" + itoa(size) + ") is bigger than the limit (" + itoa(s.quotas.Policy) + ").")
	}
	return ss, nil
}

func removeStatement(ss []store.Statement, id string) ([]store.Statement, error) {
	i := slices.IndexFunc(ss, func(x store.Statement) bool { return x.ID == id })
	if i < 0 {
		return nil, notFound("Statement %s is not found in resource policy.", id)
	}
	return slices.Delete(ss, i, i+1), nil
}

// target reads what a policy belongs to, of which the revision ID is the
// policy's, too. touch gives it a new one, and writes it.
func target(tx *store.Tx, f arn.Function) (revision string, touch func() error, err error) {
	fn, err := tx.Functions().Get(key(f))
	if err != nil {
		return "", nil, or(err, noSuchFunction(f.WithQualifier("")))
	}
	fresh := uuid.NewString()
	switch {
	case f.Qualifier == "":
		return fn.Latest.RevisionID, func() error { fn.Latest.RevisionID = fresh; return tx.Functions().Put(fn) }, nil
	case f.IsVersion():
		_, v, err := resolve(tx, f)
		if err != nil {
			return "", nil, err
		}
		return v.RevisionID, func() error {
			v.RevisionID = fresh
			p := &store.Published{FunctionID: fn.ID, Config: *v}
			p.Key, p.Number = fn.Key, number(v.Number)
			return tx.Versions().Put(p)
		}, nil
	case strings.Contains(f.Qualifier, "$"):
		return "", nil, noSuchFunction(f) // nothing has such a name
	}
	a, err := tx.Aliases().Get(store.AliasKey{Key: fn.Key, Alias: f.Qualifier})
	if err != nil {
		return "", nil, or(err, noSuchAlias(f))
	}
	return a.RevisionID, func() error { a.RevisionID = fresh; return tx.Aliases().Put(a) }, nil
}

func (s *Service) AddPermission(ctx context.Context, in *api.AddPermissionRequest) (*api.AddPermissionResponse, error) {
	f, k, err := s.function(ctx, in.FunctionName, in.Qualifier, "AddPermission")
	if err != nil {
		return nil, err
	}
	if f.Qualifier == store.Latest {
		return nil, invalid("We currently do not support adding policies for $LATEST.")
	}
	st := statement{Sid: *in.StatementId, Effect: "Allow", Action: *in.Action, Resource: f.ARN(), Condition: conditions{}}
	if st.Principal, err = principal(f.Partition, *in.Principal); err != nil {
		return nil, err
	}
	if in.FunctionUrlAuthType != nil && *in.Action != "lambda:InvokeFunctionUrl" {
		return nil, invalid("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
	}
	st.Condition.add("StringEquals", "lambda:FunctionUrlAuthType", in.FunctionUrlAuthType)
	st.Condition.add("StringEquals", "AWS:SourceAccount", in.SourceAccount)
	st.Condition.add("StringEquals", "aws:PrincipalOrgID", in.PrincipalOrgID)
	st.Condition.add("StringEquals", "lambda:EventSourceToken", in.EventSourceToken)
	st.Condition.add("ArnLike", "AWS:SourceArn", in.SourceArn)
	if awsapi.Val(in.InvokedViaFunctionUrl) {
		st.Condition.add("Bool", "lambda:InvokedViaFunctionUrl", awsapi.Ptr("true"))
	}
	text := st.json()
	err = s.update(ctx, func(tx *store.Tx) error {
		revision, touch, err := target(tx, f)
		if err != nil {
			return err
		}
		if err := checkRevision(in.RevisionId, revision, byPolicy); err != nil {
			return err
		}
		q := store.QualifiedKey{Key: k, Qualifier: f.Qualifier}
		p, err := tx.Policies().Get(q)
		if errors.Is(err, store.ErrNotFound) {
			p = &store.Policy{QualifiedKey: q, ID: "default"}
		} else if err != nil {
			return err
		}
		if p.Statements, err = s.addStatement(p.Statements, store.Statement{ID: st.Sid, JSON: text}); err != nil {
			return err
		}
		return errors.Join(tx.Policies().Put(p), touch())
	})
	if err != nil {
		return nil, err
	}
	return &api.AddPermissionResponse{Statement: awsapi.Ptr(string(text))}, nil
}

func (s *Service) RemovePermission(ctx context.Context, in *api.RemovePermissionRequest) error {
	f, k, err := s.function(ctx, in.FunctionName, in.Qualifier, "RemovePermission")
	if err != nil {
		return err
	}
	if f.Qualifier == store.Latest {
		f.Qualifier = ""
	}
	return s.update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(k); err != nil {
			return or(err, notFound("No policy found for: %s", f.Unqualified()))
		}
		revision, touch, err := target(tx, f)
		if err != nil {
			return err
		}
		q := store.QualifiedKey{Key: k, Qualifier: f.Qualifier}
		p, err := tx.Policies().Get(q)
		if err != nil {
			return or(err, notFound("No policy is associated with the given resource."))
		}
		if p.Statements, err = removeStatement(p.Statements, *in.StatementId); err != nil {
			return err
		}
		if err := checkRevision(in.RevisionId, revision, byPolicy); err != nil {
			return err
		}
		if len(p.Statements) == 0 {
			err = tx.Policies().Delete(q)
		} else {
			err = tx.Policies().Put(p)
		}
		return errors.Join(err, touch())
	})
}

func (s *Service) GetPolicy(ctx context.Context, in *api.GetPolicyRequest) (*api.GetPolicyResponse, error) {
	f, k, err := s.function(ctx, in.FunctionName, in.Qualifier, "GetPolicy")
	if err != nil {
		return nil, err
	}
	if f.Qualifier == store.Latest {
		f.Qualifier = ""
	}
	out := &api.GetPolicyResponse{}
	if err := s.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Functions().Get(k); err != nil {
			return or(err, noSuchFunction(f.WithQualifier("")))
		}
		p, err := tx.Policies().Get(store.QualifiedKey{Key: k, Qualifier: f.Qualifier})
		if err != nil {
			return or(err, noSuchThing())
		}
		revision, _, err := target(tx, f)
		out.Policy, out.RevisionId = awsapi.Ptr(document(p.ID, p.Statements)), awsapi.Ptr(revision)
		return err
	}); err != nil {
		return nil, err
	}
	return out, nil
}

// crossAccount refuses what another account's request wants with f, unless f's policy allows it.
func (s *Service) crossAccount(ctx context.Context, f arn.Function, action string) error {
	req := awsapi.RequestFrom(ctx)
	var p *store.Policy
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		p, err = tx.Policies().Get(store.QualifiedKey{Key: key(f), Qualifier: f.Qualifier})
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return s.failure(err)
	}
	if err == nil && allows(p.Statements, req.AccountID, action, f.ARN()) {
		return nil
	}
	return arn.Denied(req, action, f.ARN())
}

// allows says whether a policy lets an account do action on the resource.
func allows(ss []store.Statement, account, action, resource string) bool {
	docs := make([]json.RawMessage, len(ss))
	for i, st := range ss {
		docs[i] = st.JSON
	}
	return policy.Evaluate(docs, policy.Request{Action: action, Resource: resource, AccountID: account}) == policy.Allowed
}
