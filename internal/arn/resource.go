package arn

import (
	"strconv"
	"strings"

	"github.com/hearth-run/hearth/internal/awsapi"
)

// Layer names a layer.
type Layer struct {
	Partition string
	Region    string
	AccountID string
	Name      string
}

// ARN returns the layer's ARN, without a version.
func (l Layer) ARN() string {
	return "arn:" + l.Partition + ":lambda:" + l.Region + ":" + l.AccountID + ":layer:" + l.Name
}

// Version returns the ARN of a version of the layer.
func (l Layer) Version(n int64) string { return l.ARN() + ":" + strconv.FormatInt(n, 10) }

// ParseLayer reads a layer's name or ARN. What a name leaves out comes from
// req; the layer may belong to another account or region. It reports false if s is neither.
func ParseLayer(s string, req *awsapi.Request) (Layer, bool) {
	if a, ok := Parse(s); ok {
		name, ok := strings.CutPrefix(a.Resource, "layer:")
		l := Layer{Partition: a.Partition, Region: a.Region, AccountID: a.AccountID, Name: name}
		return l, ok && a.Service == "lambda" && isPartition(a.Partition) && IsRegion(a.Region) && IsAccountID(a.AccountID) && isName(name)
	}
	return Layer{Partition: req.Partition, Region: req.Region, AccountID: req.AccountID, Name: s}, isName(s)
}

// ParseLayerVersion reads the ARN of a layer's version. It reports false if s
// is none, or if the number is too large for any version.
func ParseLayerVersion(s string) (l Layer, version int64, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || !IsVersion(s[i+1:]) {
		return Layer{}, 0, false
	}
	version, err := strconv.ParseInt(s[i+1:], 10, 64)
	if err != nil || !strings.HasPrefix(s, "arn:") {
		return Layer{}, 0, false
	}
	l, ok = ParseLayer(s[:i], &awsapi.Request{})
	return l, version, ok
}

// Kind is a kind of Lambda's resources that have an ARN.
type Kind string

const (
	KindFunction           Kind = "function"
	KindLayer              Kind = "layer"
	KindEventSourceMapping Kind = "event-source-mapping"
	KindCodeSigningConfig  Kind = "code-signing-config"
	KindCapacityProvider   Kind = "capacity-provider"
	KindNetworkConnector   Kind = "network-connector"
)

// Resource builds the ARN of one of Lambda's resources in req's account and region.
func Resource(req *awsapi.Request, kind Kind, id string) string {
	return "arn:" + req.Partition + ":lambda:" + req.Region + ":" + req.AccountID + ":" + string(kind) + ":" + id
}

// ParseResource reads the full ARN of one of Lambda's resources. id is what
// follows the kind: a function's name with its qualifier, a layer's name with
// its version, a UUID, "csc-…". It reports false if s is none.
func ParseResource(s string) (kind Kind, id string, a ARN, ok bool) {
	a, ok = Parse(s)
	if !ok || a.Service != "lambda" || !isPartition(a.Partition) || !IsRegion(a.Region) || !IsAccountID(a.AccountID) {
		return "", "", ARN{}, false
	}
	k, id, ok := strings.Cut(a.Resource, ":")
	if !ok || id == "" {
		return "", "", ARN{}, false
	}
	switch kind = Kind(k); kind {
	case KindFunction, KindLayer:
		name, qualifier, qualified := strings.Cut(id, ":")
		ok = isName(name) && (!qualified || qualifier != "" && isQualifier(qualifier))
	case KindEventSourceMapping:
		ok = IsUUID(id)
	case KindCodeSigningConfig:
		rest, found := strings.CutPrefix(id, "csc-")
		ok = found && len(rest) == 17 && every(rest, func(c byte) bool { return lower(c) || digit(c) })
	case KindCapacityProvider, KindNetworkConnector:
		ok = isName(id)
	default:
		ok = false
	}
	if !ok {
		return "", "", ARN{}, false
	}
	return kind, id, a, true
}

// IsUUID says whether s has the form of a UUID.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case !digit(c) && (c < 'a' || c > 'f') && (c < 'A' || c > 'F'):
			return false
		}
	}
	return true
}

// isName says whether s is one or more of the characters that names of functions and layers have.
func isName(s string) bool { return s != "" && every(s, word) }
