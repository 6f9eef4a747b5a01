package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// parsePolicy reads a whole policy document, and refuses what is none.
func parsePolicy(text string) (id string, ss []store.Statement, err error) {
	var doc struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	bad := func(why string) error { return invalid("The resource policy is invalid: %s.", why) }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return "", nil, bad("it is no JSON document of a policy")
	}
	if doc.Version != "2012-10-17" && doc.Version != "2008-10-17" {
		return "", nil, bad("Version must be 2012-10-17 or 2008-10-17")
	}
	var raw []json.RawMessage
	if s := bytes.TrimSpace(doc.Statement); len(s) > 0 && s[0] == '{' {
		raw = []json.RawMessage{s}
	} else if json.Unmarshal(s, &raw) != nil || len(raw) == 0 {
		return "", nil, bad("it has no statements")
	}
	seen := map[string]bool{}
	for _, r := range raw {
		var st struct {
			Sid, Effect       string
			Principal         any
			NotPrincipal      any
			Action, NotAction any
			Resource          any
			NotResource       any
			Condition         map[string]map[string]any
		}
		if json.Unmarshal(r, &st) != nil {
			return "", nil, bad("a statement is malformed")
		}
		switch {
		case st.Effect != "Allow" && st.Effect != "Deny":
			return "", nil, bad("Effect must be Allow or Deny")
		case st.Principal == nil && st.NotPrincipal == nil:
			return "", nil, bad("a statement has no Principal")
		case st.Action == nil && st.NotAction == nil:
			return "", nil, bad("a statement has no Action")
		case st.Sid != "" && seen[st.Sid]:
			return "", nil, bad("two statements have the Sid " + st.Sid)
		}
		seen[st.Sid] = true
		var compact bytes.Buffer
		if err := json.Compact(&compact, r); err != nil {
			return "", nil, bad("a statement is malformed")
		}
		ss = append(ss, store.Statement{ID: st.Sid, JSON: compact.Bytes()})
	}
	if doc.ID == "" {
		doc.ID = "default"
	}
	return doc.ID, ss, nil
}

func (s *Service) PutResourcePolicy(ctx context.Context, in *api.PutResourcePolicyRequest) (*api.PutResourcePolicyResponse, error) {
	f, q, err := s.policyResource(ctx, *in.ResourceArn, "PutResourcePolicy")
	if err != nil {
		return nil, err
	}
	if size := int64(len(*in.Policy)); size > s.quotas.Policy {
		return nil, api.PolicyLengthExceededException("The final policy size (" + itoa(size) + ") is bigger than the limit (" + itoa(s.quotas.Policy) + ").")
	}
	p := &store.Policy{QualifiedKey: q}
	if p.ID, p.Statements, err = parsePolicy(*in.Policy); err != nil {
		return nil, err
	}
	var revision string
	if err := s.update(ctx, func(tx *store.Tx) error {
		before, touch, err := target(tx, f)
		if err != nil {
			return err
		}
		if err := checkRevision(in.RevisionId, before, "GetResourcePolicy"); err != nil {
			return err
		}
		if err := errors.Join(tx.Policies().Put(p), touch()); err != nil {
			return err
		}
		revision, _, err = target(tx, f)
		return err
	}); err != nil {
		return nil, err
	}
	return &api.PutResourcePolicyResponse{Policy: awsapi.Ptr(document(p.ID, p.Statements)), RevisionId: &revision}, nil
}

func (s *Service) GetResourcePolicy(ctx context.Context, in *api.GetResourcePolicyRequest) (*api.GetResourcePolicyResponse, error) {
	f, q, err := s.policyResource(ctx, *in.ResourceArn, "GetResourcePolicy")
	if err != nil {
		return nil, err
	}
	out := &api.GetResourcePolicyResponse{}
	if err := s.view(ctx, func(tx *store.Tx) error {
		revision, _, err := target(tx, f)
		if err != nil {
			return err
		}
		p, err := tx.Policies().Get(q)
		if err != nil {
			return or(err, noSuchThing())
		}
		out.Policy, out.RevisionId = awsapi.Ptr(document(p.ID, p.Statements)), &revision
		return nil
	}); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) DeleteResourcePolicy(ctx context.Context, in *api.DeleteResourcePolicyRequest) error {
	f, q, err := s.policyResource(ctx, *in.ResourceArn, "DeleteResourcePolicy")
	if err != nil {
		return err
	}
	return s.update(ctx, func(tx *store.Tx) error {
		revision, touch, err := target(tx, f)
		if err != nil {
			return err
		}
		if err := checkRevision(in.RevisionId, revision, "GetResourcePolicy"); err != nil {
			return err
		}
		if err := tx.Policies().Delete(q); err != nil {
			return or(err, noSuchThing())
		}
		return touch()
	})
}
