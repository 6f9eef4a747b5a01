package backend

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strings"
	"time"
)

// Deployment is what an instance runs: code, layers in attach order, and the
// configuration that it is started with. It is a value; its slices and maps
// are not changed once it is made.
type Deployment struct {
	Partition  string // "aws"
	AccountID  string
	Region     string
	Function   string // name
	FunctionID string // the function's creation ID: delete and create again never meets old instances
	Version    string // "$LATEST" or a number

	Runtime      string // "" for images
	Handler      string
	Architecture string // "x86_64" or "arm64"
	CodeHash     string // of the zip, as package code names it; "" for images
	CodeDir      string // a folder of this machine that is used in place, instead of CodeHash
	Layers       []Layer
	Image        string // URI for image functions, resolved to a digest where known
	ImageConfig  ImageConfig

	Environment map[string]string
	MemoryMB    int
	EphemeralMB int
	Timeout     time.Duration
	Tracing     string // "Active" or "PassThrough"
	LogGroup    string
	LogFormat   string // "Text" or "JSON"
	AppLogLevel string
	SysLogLevel string
	InitType    string // see instance.Spec
	// MaxConcurrency is events at once in one environment; 0 and 1 mean one.
	MaxConcurrency int
	TenantID       string // with tenant isolation: the tenant that the instance belongs to
	Role           string
	// Other holds every further setting that makes a new deployment when it
	// changes (VPC, file systems, SnapStart, KMS key …), by the API's names.
	Other map[string]string
}

// Layer is one layer of a deployment.
type Layer struct {
	ARN      string
	CodeHash string
}

// ImageConfig overrides an image's own settings. Nil means not overridden.
type ImageConfig struct {
	EntryPoint       []string
	Command          []string
	WorkingDirectory string
}

// ARN returns the function's unqualified ARN.
func (d Deployment) ARN() string {
	return "arn:" + d.Partition + ":lambda:" + d.Region + ":" + d.AccountID + ":function:" + d.Function
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ID is the deploy ID: a fingerprint of everything in d, safe in URLs, labels
// and file names. Deployments are equal exactly when their IDs are.
func (d Deployment) ID() string {
	b, err := json.Marshal(d) // maps are marshalled in key order
	if err != nil {
		panic("backend: a Deployment always marshals: " + err.Error())
	}
	sum := sha256.Sum256(b)
	name := strings.ToLower(strings.Map(func(r rune) rune {
		if r == '_' {
			return '-'
		}
		return r
	}, d.Function))
	if len(name) > 24 {
		name = name[:24]
	}
	return strings.Trim(name, "-") + "-" + idEncoding.EncodeToString(sum[:15])
}
