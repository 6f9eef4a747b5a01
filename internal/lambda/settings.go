package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/awsclient"
	"github.com/hearth-run/hearth/internal/store"
)

// settings are what CreateFunction and UpdateFunctionConfiguration both take.
// Nil members leave what is there. Layers are resolved apart (see resolveLayers).
type settings struct {
	description      *string
	runtime          *string
	handler          *string
	role             *string
	timeout          *int32
	memory           *int32
	environment      *api.Environment
	kms              *string
	vpc              *api.VpcConfig
	deadLetter       *api.DeadLetterConfig
	tracing          *api.TracingConfig
	fileSystems      []api.FileSystemConfig
	imageConfig      *api.ImageConfig
	ephemeral        *api.EphemeralStorage
	snapStart        *api.SnapStart
	logging          *api.LoggingConfig
	capacityProvider *api.CapacityProviderConfig
	durable          *api.DurableConfig
	runtimeConfig    *api.FunctionRuntimeConfig
	accelerator      *api.AcceleratorConfig
}

func settingsOfCreate(in *api.CreateFunctionRequest) settings {
	return settings{
		in.Description, in.Runtime, in.Handler, in.Role, in.Timeout, in.MemorySize, in.Environment, in.KMSKeyArn, in.VpcConfig, in.DeadLetterConfig,
		in.TracingConfig, in.FileSystemConfigs, in.ImageConfig, in.EphemeralStorage, in.SnapStart, in.LoggingConfig, in.CapacityProviderConfig, in.DurableConfig,
		in.RuntimeConfig, in.AcceleratorConfig,
	}
}

func settingsOfUpdate(in *api.UpdateFunctionConfigurationRequest) settings {
	return settings{
		in.Description, in.Runtime, in.Handler, in.Role, in.Timeout, in.MemorySize, in.Environment, in.KMSKeyArn, in.VpcConfig, in.DeadLetterConfig,
		in.TracingConfig, in.FileSystemConfigs, in.ImageConfig, in.EphemeralStorage, in.SnapStart, in.LoggingConfig, in.CapacityProviderConfig, in.DurableConfig,
		in.RuntimeConfig, in.AcceleratorConfig,
	}
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// apply writes the settings into v, a version of f, and checks what can be
// checked without asking anybody.
func (s *Service) apply(f arn.Function, v *store.Version, in settings) error {
	set(&v.Description, in.description)
	set(&v.Handler, in.handler)
	set(&v.Role, in.role)
	set(&v.TimeoutSeconds, in.timeout)
	set(&v.MemoryMB, in.memory)
	set(&v.KMSKeyARN, in.kms)
	if in.runtime != nil && retired[*in.runtime] {
		return invalid("The runtime parameter of %s is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions.", *in.runtime)
	}
	if in.runtime != nil && v.Runtime != *in.runtime {
		v.Runtime = *in.runtime
		v.RuntimeVersionARN = runtimeVersion(f, v.Runtime)
		v.UpdateRuntimeOn = ""
	}
	if in.environment != nil {
		v.Environment = in.environment.Variables
		if v.Environment == nil {
			v.Environment = map[string]string{}
		}
		if err := s.checkEnvironment(v.Environment); err != nil {
			return err
		}
	}
	if in.vpc != nil {
		v.Vpc = &store.VPC{SubnetIDs: in.vpc.SubnetIds, SecurityGroupIDs: in.vpc.SecurityGroupIds, IPv6: awsapi.Val(in.vpc.Ipv6AllowedForDualStack)}
		if (len(v.Vpc.SubnetIDs) == 0) != (len(v.Vpc.SecurityGroupIDs) == 0) {
			return invalid("SecurityGroupIds and SubnetIds must both be empty or both have values.")
		}
	}
	if in.deadLetter != nil {
		v.DeadLetterARN = awsapi.Val(in.deadLetter.TargetArn)
		if err := checkDeadLetter(v.DeadLetterARN); err != nil {
			return err
		}
	}
	if in.tracing != nil {
		set(&v.Tracing, in.tracing.Mode)
	}
	if in.fileSystems != nil {
		v.FileSystems = in.fileSystems
		if len(v.FileSystems) == 0 {
			v.FileSystems = nil
		}
	}
	if in.imageConfig != nil {
		v.ImageConfig = in.imageConfig
		if len(in.imageConfig.Command) == 0 && len(in.imageConfig.EntryPoint) == 0 && awsapi.Val(in.imageConfig.WorkingDirectory) == "" {
			v.ImageConfig = nil
		}
	}
	if in.ephemeral != nil {
		set(&v.EphemeralMB, in.ephemeral.Size)
	}
	if in.snapStart != nil {
		set(&v.SnapStart, in.snapStart.ApplyOn)
	}
	if in.logging != nil {
		if err := applyLogging(v, in.logging); err != nil {
			return err
		}
	}
	if in.capacityProvider != nil {
		v.CapacityProvider = in.capacityProvider
	}
	if in.durable != nil {
		v.Durable = in.durable
	}
	if in.runtimeConfig != nil {
		v.RuntimeConfig = in.runtimeConfig
	}
	if in.accelerator != nil {
		v.Accelerator = in.accelerator
	}
	return checkCombinations(v)
}

func applyLogging(v *store.Version, in *api.LoggingConfig) error {
	set(&v.LogGroup, in.LogGroup)
	set(&v.LogFormat, in.LogFormat)
	if v.LogFormat == api.LogFormatText {
		if in.ApplicationLogLevel != nil || in.SystemLogLevel != nil {
			return invalid("ApplicationLogLevel and SystemLogLevel can only be set when LogFormat is JSON.")
		}
		v.AppLogLevel, v.SysLogLevel = "", ""
		return nil
	}
	if v.AppLogLevel == "" {
		v.AppLogLevel = "INFO"
	}
	if v.SysLogLevel == "" {
		v.SysLogLevel = "INFO"
	}
	set(&v.AppLogLevel, in.ApplicationLogLevel)
	set(&v.SysLogLevel, in.SystemLogLevel)
	return nil
}

// checkCombinations refuses what does not go together in one version.
func checkCombinations(v *store.Version) error {
	if v.SnapStart == api.SnapStartApplyOnPublishedVersions {
		switch {
		case v.PackageType == api.PackageTypeImage:
			return invalid("SnapStart is not supported for functions that are defined as container images.")
		case !snapStarts(v.Runtime):
			return invalid("%s is not supported for SnapStart enabled functions.", v.Runtime)
		case len(v.FileSystems) > 0:
			return invalid("EFS is not supported for SnapStart enabled functions.")
		case v.EphemeralMB > 512:
			return invalid("Functions with SnapStart enabled cannot have more than 512 MB of ephemeral storage.")
		case v.Tenancy != "":
			return invalid("SnapStart is not supported for functions with tenant isolation.")
		}
	}
	if v.PackageType == api.PackageTypeZip && v.ImageConfig != nil {
		return invalid("Please don't provide ImageConfig when the function PackageType is Zip.")
	}
	return nil
}

// retired are the runtimes that the model still has, and AWS takes no more.
var retired = map[string]bool{
	"nodejs": true, "nodejs4.3": true, "nodejs4.3-edge": true, "nodejs6.10": true, "nodejs8.x": true, "nodejs8.9": true, "nodejs8.10": true, "nodejs10.x": true,
	"nodejs12.x": true, "nodejs14.x": true, "python2.7": true, "python2.7-greengrass": true, "python3.4": true, "python3.6": true, "python3.7": true,
	"ruby2.5": true, "ruby2.6": true, "ruby2.7": true, "java8": true, "dotnetcore1.0": true, "dotnetcore2.0": true, "dotnetcore2.1": true, "dotnetcore3.1": true,
	"go1.9": true, "go1.x": true, "provided": true, "byol": true, "nasa": true,
}

// snapStarts says whether AWS takes snapshots of a runtime.
func snapStarts(runtime string) bool {
	if r, ok := strings.CutPrefix(runtime, "java"); ok {
		return slices.Contains([]string{"11", "17", "21", "25"}, r)
	}
	return slices.Contains([]string{"python3.12", "python3.13", "python3.14", "python3.15", "dotnet8", "dotnet10"}, runtime)
}

// checkNew refuses what only CreateFunction can get wrong.
func (s *Service) checkNew(in *api.CreateFunctionRequest, v *store.Version) error {
	if v.PackageType == api.PackageTypeImage {
		if in.Runtime != nil || in.Handler != nil || len(in.Layers) > 0 {
			return invalid("Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.")
		}
	} else if v.Runtime == "" || v.Handler == "" && !strings.HasPrefix(v.Runtime, "provided") {
		return invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if len(in.Tags) > s.quotas.Tags {
		return invalid("Number of tags exceeds resource tag limit.")
	}
	if in.PublishTo != nil && v.CapacityProvider == nil {
		return invalid("PublishTo is supported only for functions with a capacity provider.")
	}
	return nil
}

// reserved are the environment variables that Lambda sets itself.
var reserved = map[string]bool{
	"_HANDLER": true, "_X_AMZN_TRACE_ID": true, "AWS_DEFAULT_REGION": true, "AWS_REGION": true, "AWS_EXECUTION_ENV": true, "AWS_LAMBDA_FUNCTION_NAME": true,
	"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": true, "AWS_LAMBDA_FUNCTION_VERSION": true, "AWS_LAMBDA_INITIALIZATION_TYPE": true, "AWS_LAMBDA_LOG_GROUP_NAME": true,
	"AWS_LAMBDA_LOG_STREAM_NAME": true, "AWS_ACCESS_KEY": true, "AWS_ACCESS_KEY_ID": true, "AWS_SECRET_ACCESS_KEY": true, "AWS_SESSION_TOKEN": true,
	"AWS_LAMBDA_RUNTIME_API": true, "LAMBDA_TASK_ROOT": true, "LAMBDA_RUNTIME_DIR": true,
}

const cannotConfigure = "Lambda was unable to configure your environment variables because the environment variables you have provided "

func (s *Service) checkEnvironment(env map[string]string) error {
	keys := hashOrder(env)
	var used []string
	for _, k := range keys {
		if reserved[k] {
			used = append(used, k)
		}
	}
	if len(used) > 0 {
		return invalid(cannotConfigure+"contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(used, ", "))
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(k) + ":" + quote(env[k]))
	}
	b.WriteByte('}')
	if int64(b.Len()) > s.quotas.Environment {
		limit := itoa(s.quotas.Environment) + " byte"
		if s.quotas.Environment%1024 == 0 {
			limit = itoa(s.quotas.Environment/1024) + "KB"
		}
		return invalid(cannotConfigure+"exceeded the %s limit. String measured: %s", limit, b.String())
	}
	return nil
}

// quote returns s as a JSON string, without escapes that JSON does not ask for.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("lambda: a string always marshals: " + err.Error())
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// hashOrder returns m's keys in the order in which AWS's answers show them,
// which is that of a Java HashMap.
func hashOrder(m map[string]string) []string {
	size := uint32(16)
	for float64(len(m)) > 0.75*float64(size) {
		size *= 2
	}
	bucket := func(s string) uint32 {
		var h uint32
		for _, u := range utf16s(s) {
			h = 31*h + uint32(u)
		}
		return (h ^ h>>16) & (size - 1)
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if x, y := bucket(a), bucket(b); x != y {
			return int(x) - int(y)
		}
		return strings.Compare(a, b)
	})
	return keys
}

// checkDeadLetter refuses targets that are neither a queue nor a topic.
func checkDeadLetter(target string) error {
	if target == "" {
		return nil
	}
	a, ok := arn.Parse(target)
	if !ok || a.Service != "sqs" && a.Service != "sns" {
		return invalid("The provided dead letter target ARN %s is invalid: it names neither an SQS queue nor an SNS topic.", target)
	}
	return nil
}

// checkOutside asks other services about what v names, where they are configured.
func (s *Service) checkOutside(ctx context.Context, v *store.Version) error {
	if s.cfg.Checker == nil {
		return nil
	}
	region := awsapi.RequestFrom(ctx).Region
	if err := s.cfg.Checker.Role(ctx, region, v.Role); errors.Is(err, awsclient.ErrNotFound) {
		return invalid("The role defined for the function cannot be assumed by Lambda.")
	} else if err != nil {
		s.log.Warn("role not checked", "role", v.Role, "err", err)
	}
	if a, ok := arn.Parse(v.DeadLetterARN); ok && a.Service == "sqs" {
		if err := s.cfg.Checker.Queue(ctx, region, v.DeadLetterARN); errors.Is(err, awsclient.ErrNotFound) {
			return invalid("The provided dead letter queue %s does not exist.", v.DeadLetterARN)
		} else if err != nil {
			s.log.Warn("queue not checked", "queue", v.DeadLetterARN, "err", err)
		}
	}
	return nil
}

// checkReferences checks what v names among Hearth's own records.
func (s *Service) checkReferences(tx *store.Tx, fn *store.Function, v *store.Version) error {
	if v.CapacityProvider != nil && v.CapacityProvider.LambdaManagedInstancesCapacityProviderConfig != nil {
		name := awsapi.Val(v.CapacityProvider.LambdaManagedInstancesCapacityProviderConfig.CapacityProviderArn)
		kind, id, a, ok := arn.ParseResource(name)
		if !ok || kind != arn.KindCapacityProvider {
			return invalid("The capacity provider ARN %s is invalid.", name)
		}
		if _, err := tx.Capacities().Get(store.Key{AccountID: a.AccountID, Region: a.Region, Name: id}); err != nil {
			return or(err, notFound("Capacity provider not found: %s", name))
		}
	}
	if fn.CodeSigningConfigARN != "" {
		if _, err := codeSigning(tx, fn.CodeSigningConfigARN); err != nil {
			return or(err, noSuchSigning(fn.CodeSigningConfigARN))
		}
	}
	return nil
}

// checkSize refuses code that is too large together with its layers.
func (s *Service) checkSize(v *store.Version) error {
	size := v.Code.UnzippedSize
	for _, l := range v.Layers {
		size += l.UnzippedSize
	}
	if size > s.quotas.UnzippedCode {
		return invalid("Function code combined with layers exceeds the maximum allowed size of %d bytes. The actual size is %d bytes.", s.quotas.UnzippedCode, size)
	}
	return nil
}

// resolveLayers finds the layers that a request names, and makes them v's.
func (s *Service) resolveLayers(ctx context.Context, tx *store.Tx, v *store.Version, names []string) error {
	if names == nil {
		return nil
	}
	if len(names) > s.quotas.Layers {
		return invalid("Cannot reference more than %d layers.", s.quotas.Layers)
	}
	req := awsapi.RequestFrom(ctx)
	v.Layers = nil
	seen := map[string]string{} // by layer: the version named before
	for _, name := range names {
		l, number, ok := arn.ParseLayerVersion(name)
		if !ok {
			return invalid("Layer version %s does not exist.", name)
		}
		if l.Region != req.Region {
			return invalid("Layers are not in the same region as the function. Layers are expected to be in region %s.", req.Region)
		}
		lv, err := tx.LayerVersions().Get(layerVersionKey(l, number))
		if errors.Is(err, store.ErrNotFound) && l.AccountID != req.AccountID {
			return arn.Denied(req, "lambda:GetLayerVersion", name)
		}
		if err != nil {
			return or(err, invalid("Layer version %s does not exist.", name))
		}
		if l.AccountID != req.AccountID && !allows(lv.Policy, req.AccountID, "lambda:GetLayerVersion", name) {
			return arn.Denied(req, "lambda:GetLayerVersion", name)
		}
		if before, ok := seen[l.ARN()]; ok {
			return invalid("Two different versions of the same layer are not allowed to be referenced in the same function. %s and %s are versions of the same layer.", before, name)
		}
		seen[l.ARN()] = name
		v.Layers = append(v.Layers, store.LayerRef{ARN: name, CodeHash: lv.Code.Hash, Size: lv.Code.Size, UnzippedSize: lv.Code.UnzippedSize})
	}
	return nil
}
