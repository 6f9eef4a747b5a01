package store

import (
	"encoding/json"
	"time"

	"github.com/hearth-run/hearth/internal/awsapi/lambda"
)

// Latest is the Number of a function's unpublished version.
const Latest = "$LATEST"

// Scope is an account in a region: what quotas count in, and lists range over.
type Scope struct {
	AccountID string
	Region    string
}

// Key names a function (or whatever else has a name) of a scope.
type Key struct {
	AccountID string
	Region    string
	Name      string
}

// Scope returns the scope that k lies in.
func (k Key) Scope() Scope { return Scope{k.AccountID, k.Region} }

// VersionKey names a published version of a function or a layer.
type VersionKey struct {
	Key
	Number int64
}

// AliasKey names an alias.
type AliasKey struct {
	Key
	Alias string
}

// QualifiedKey names what belongs to a function's version or alias.
// Qualifier is "$LATEST", a number or an alias; "" is the function as a whole.
type QualifiedKey struct {
	Key
	Qualifier string
}

// Function is a function: its $LATEST version, and what belongs to no version.
type Function struct {
	Key
	// ID is made when the function is created, and never again: a function
	// that is deleted and created again is another one.
	ID      string
	Created time.Time
	Latest  Version // the unpublished version, whose Number is "$LATEST"
	// LastVersion is the highest number published so far, deleted ones included.
	LastVersion int64 `json:",omitempty"`
	// Published is the fingerprint of $LATEST when it was published last.
	Published string `json:",omitempty"`
	// LatestPublished is Number of the version that $LATEST.PUBLISHED names, or "".
	LatestPublished string            `json:",omitempty"`
	Tags            map[string]string `json:",omitempty"`
	// Reserved is the concurrency that is set aside for the function; nil: none, it
	// shares the account's.
	Reserved             *int32 `json:",omitempty"`
	CodeSigningConfigARN string `json:",omitempty"`
	RecursiveLoop        string `json:",omitempty"` // "Allow" or "Terminate"; "" is the latter
}

// Version is a version of a function: its code, its configuration and its
// state. Published ones change in state alone.
type Version struct {
	Number       string // "$LATEST", or "1", "2", …
	Description  string `json:",omitempty"`
	RevisionID   string
	LastModified time.Time

	PackageType  string // "Zip" or "Image"
	Runtime      string `json:",omitempty"`
	Handler      string `json:",omitempty"`
	Role         string
	Architecture string // "x86_64" or "arm64"

	Code        Code
	ImageConfig *lambda.ImageConfig `json:",omitempty"`
	Layers      []LayerRef          `json:",omitempty"` // in attach order

	// Environment is nil if the function has none, and non-nil and empty if
	// it was given an empty one.
	Environment       map[string]string
	KMSKeyARN         string                         `json:",omitempty"`
	MemoryMB          int32                          //
	EphemeralMB       int32                          //
	TimeoutSeconds    int32                          //
	Tracing           string                         // "Active" or "PassThrough"
	LogGroup          string                         //
	LogFormat         string                         // "Text" or "JSON"
	AppLogLevel       string                         `json:",omitempty"` // JSON only
	SysLogLevel       string                         `json:",omitempty"` // JSON only
	DeadLetterARN     string                         `json:",omitempty"`
	SnapStart         string                         // ApplyOn: "None" or "PublishedVersions"
	Vpc               *VPC                           `json:",omitempty"`
	FileSystems       []lambda.FileSystemConfig      `json:",omitempty"`
	RuntimeVersionARN string                         `json:",omitempty"`
	UpdateRuntimeOn   string                         `json:",omitempty"` // "" is "Auto"
	Tenancy           string                         `json:",omitempty"` // TenantIsolationMode
	CapacityProvider  *lambda.CapacityProviderConfig `json:",omitempty"`
	Durable           *lambda.DurableConfig          `json:",omitempty"`
	Accelerator       *lambda.AcceleratorConfig      `json:",omitempty"`
	RuntimeConfig     *lambda.FunctionRuntimeConfig  `json:",omitempty"`

	Scaling *lambda.FunctionScalingConfig `json:",omitempty"` // of published versions on capacity providers

	State            string // "Pending", "Active", "Inactive", "Failed"
	StateReason      string `json:",omitempty"`
	StateReasonCode  string `json:",omitempty"`
	UpdateStatus     string `json:",omitempty"` // "InProgress", "Successful", "Failed"
	UpdateReason     string `json:",omitempty"`
	UpdateReasonCode string `json:",omitempty"`
}

// Code is where a version's code is.
type Code struct {
	Hash          string // of the zip, as package code names it; "" for images
	SHA256        string // as CodeSha256 shows it
	Size          int64  // bytes, zipped; 0 for images
	UnzippedSize  int64
	ImageURI      string                   `json:",omitempty"` // as given
	ResolvedImage string                   `json:",omitempty"` // with its digest, where known
	S3            *lambda.ResolvedS3Object `json:",omitempty"` // where the zip came from, if asked to be kept there
	KMSKeyARN     string                   `json:",omitempty"`
}

// LayerRef is a layer version that a function's version uses. It keeps
// working after the layer version has been deleted.
type LayerRef struct {
	ARN          string
	CodeHash     string
	Size         int64
	UnzippedSize int64
}

// VPC is a function's VpcConfig.
type VPC struct {
	SubnetIDs        []string
	SecurityGroupIDs []string
	IPv6             bool
	ID               string
}

// Published is a published version of a function.
type Published struct {
	VersionKey
	FunctionID string
	Config     Version
}

// Alias is a name for a version, or for two with weights.
type Alias struct {
	AliasKey
	Version     string // "$LATEST" or a number
	Description string
	RevisionID  string
	// Weights are the parts of the events, 0 to 1, that go to other versions
	// than Version; nil if all go there.
	Weights map[string]float64 `json:",omitempty"`
}

// Statement is one statement of a resource policy.
type Statement struct {
	ID   string          // its Sid
	JSON json.RawMessage // the whole statement
}

// Policy is the resource policy of a function, or of one of its versions or aliases.
type Policy struct {
	QualifiedKey
	RevisionID string
	Statements []Statement
	// ID is the document's Id member: "default" for those made of permissions.
	ID string
}

// EventInvoke says how asynchronous events of a function's version or alias are handled.
type EventInvoke struct {
	QualifiedKey  // never ""
	LastModified  time.Time
	MaxAgeSeconds *int32 `json:",omitempty"`
	MaxRetries    *int32 `json:",omitempty"`
	OnSuccess     string `json:",omitempty"` // ARN, or ""
	OnFailure     string `json:",omitempty"`
}

// URL is a function's URL, or that of one of its aliases.
type URL struct {
	QualifiedKey // "" or an alias
	// ID is the label of the URL's host name.
	ID           string
	AuthType     string       // "NONE" or "AWS_IAM"
	InvokeMode   string       // "BUFFERED" or "RESPONSE_STREAM"
	Cors         *lambda.Cors `json:",omitempty"`
	Created      time.Time
	LastModified time.Time
}

// Provisioned is the provisioned concurrency of a version or an alias.
type Provisioned struct {
	QualifiedKey
	Requested    int32
	Allocated    int32
	Available    int32
	Status       string // "IN_PROGRESS", "READY", "FAILED"
	StatusReason string `json:",omitempty"`
	LastModified time.Time
}

// Mapping is an event source mapping. Its Key's Name is its UUID.
type Mapping struct {
	Key
	FunctionName string
	Qualifier    string // or ""
	Enabled      bool
	// Config is all of it, as the API shows it.
	Config lambda.EventSourceMappingConfiguration
	Tags   map[string]string `json:",omitempty"`
}

// Layer is a layer's name. It stays when its versions are deleted, so that
// their numbers are not used again.
type Layer struct {
	Key
	LastVersion int64
}

// LayerVersion is a version of a layer.
type LayerVersion struct {
	VersionKey
	Code        Code
	Created     time.Time
	Description string `json:",omitempty"`
	License     string `json:",omitempty"`
	// What it was published for: nil where that was left out, empty where it was given as empty.
	Runtimes      []string
	Architectures []string
	Policy        []Statement `json:",omitempty"`
	PolicyID      string      `json:",omitempty"` // the policy's revision
}

// CodeSigning is a code signing configuration. Its Key's Name is its ID, "csc-…".
type CodeSigning struct {
	Key
	Description  string
	Publishers   []string // ARNs of signing profile versions
	Untrusted    string   // "Warn" or "Enforce"
	LastModified time.Time
	Tags         map[string]string `json:",omitempty"`
}

// Capacity is a capacity provider.
type Capacity struct {
	Key
	Config lambda.CapacityProvider
	Tags   map[string]string `json:",omitempty"`
}

// Task is something that is still to be done to a record, in the background.
// It is written in the transaction that makes it necessary, and deleted in the
// one that finishes it, so that it is done after a restart, too.
type Task struct {
	QualifiedKey
	// Kind says what is to be done; at most one task of a kind is kept for a key.
	Kind string
	// Revision is that of the record which the task is for: if it has moved on, so has the need.
	Revision string
}

// TaskKey names a task.
type TaskKey struct {
	QualifiedKey
	Kind string
}

// Usage is what a scope uses of its quotas, or a change of that.
type Usage struct {
	Functions   int64
	CodeSize    int64 // bytes of all versions' and layers' archives
	Reserved    int64 // reserved concurrency
	Provisioned int64 // provisioned concurrency of functions that reserve none
}
