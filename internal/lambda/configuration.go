package lambda

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/store"
)

// AWS's formats of time that are not JSON's seconds.
const (
	modifiedFormat = "2006-01-02T15:04:05.000-0700"
	zuluFormat     = "2006-01-02T15:04:05.000000Z"
)

func modified(t time.Time) *string { return awsapi.Ptr(t.UTC().Format(modifiedFormat)) }

// configuration returns v as the API shows it. f's qualifier, if any, is part
// of the ARN shown.
func configuration(f arn.Function, v *store.Version) *api.FunctionConfiguration {
	c := &api.FunctionConfiguration{
		FunctionName:     awsapi.Ptr(f.Name),
		FunctionArn:      awsapi.Ptr(f.ARN()),
		Version:          awsapi.Ptr(v.Number),
		Description:      awsapi.Ptr(v.Description),
		RevisionId:       awsapi.Ptr(v.RevisionID),
		LastModified:     modified(v.LastModified),
		Role:             awsapi.Ptr(v.Role),
		Runtime:          ptr(v.Runtime),
		Handler:          ptr(v.Handler),
		Timeout:          awsapi.Ptr(v.TimeoutSeconds),
		MemorySize:       awsapi.Ptr(v.MemoryMB),
		PackageType:      awsapi.Ptr(v.PackageType),
		Architectures:    []string{v.Architecture},
		CodeSha256:       awsapi.Ptr(v.Code.SHA256),
		CodeSize:         awsapi.Ptr(v.Code.Size),
		EphemeralStorage: &api.EphemeralStorage{Size: awsapi.Ptr(v.EphemeralMB)},
		TracingConfig:    &api.TracingConfigResponse{Mode: awsapi.Ptr(v.Tracing)},
		LoggingConfig: &api.LoggingConfig{
			LogFormat:           awsapi.Ptr(v.LogFormat),
			LogGroup:            awsapi.Ptr(v.LogGroup),
			ApplicationLogLevel: ptr(v.AppLogLevel),
			SystemLogLevel:      ptr(v.SysLogLevel),
		},
		SnapStart:                  &api.SnapStartResponse{ApplyOn: awsapi.Ptr(v.SnapStart), OptimizationStatus: awsapi.Ptr(optimization(v))},
		KMSKeyArn:                  ptr(v.KMSKeyARN),
		State:                      awsapi.Ptr(v.State),
		StateReason:                ptr(v.StateReason),
		StateReasonCode:            ptr(v.StateReasonCode),
		LastUpdateStatus:           ptr(v.UpdateStatus),
		LastUpdateStatusReason:     ptr(v.UpdateReason),
		LastUpdateStatusReasonCode: ptr(v.UpdateReasonCode),
		CapacityProviderConfig:     v.CapacityProvider,
		DurableConfig:              v.Durable,
		AcceleratorConfig:          v.Accelerator,
		RuntimeConfig:              v.RuntimeConfig,
		FileSystemConfigs:          v.FileSystems,
	}
	if v.RuntimeVersionARN != "" {
		c.RuntimeVersionConfig = &api.RuntimeVersionConfig{RuntimeVersionArn: awsapi.Ptr(v.RuntimeVersionARN)}
	}
	if v.Environment != nil {
		c.Environment = &api.EnvironmentResponse{Variables: v.Environment}
	}
	for _, l := range v.Layers {
		c.Layers = append(c.Layers, api.Layer{Arn: awsapi.Ptr(l.ARN), CodeSize: awsapi.Ptr(l.Size)})
	}
	if v.DeadLetterARN != "" {
		c.DeadLetterConfig = &api.DeadLetterConfig{TargetArn: awsapi.Ptr(v.DeadLetterARN)}
	}
	if v.Vpc != nil {
		c.VpcConfig = &api.VpcConfigResponse{
			SubnetIds: list(v.Vpc.SubnetIDs), SecurityGroupIds: list(v.Vpc.SecurityGroupIDs),
			VpcId: awsapi.Ptr(v.Vpc.ID), Ipv6AllowedForDualStack: awsapi.Ptr(v.Vpc.IPv6),
		}
	}
	if v.ImageConfig != nil {
		c.ImageConfigResponse = &api.ImageConfigResponse{ImageConfig: v.ImageConfig}
	}
	if v.Tenancy != "" {
		c.TenancyConfig = &api.TenancyConfig{TenantIsolationMode: awsapi.Ptr(v.Tenancy)}
	}
	return c
}

// listed returns v as lists show it: without its state.
func listed(f arn.Function, v *store.Version) api.FunctionConfiguration {
	c := configuration(f, v)
	c.State, c.StateReason, c.StateReasonCode = nil, nil, nil
	c.LastUpdateStatus, c.LastUpdateStatusReason, c.LastUpdateStatusReasonCode = nil, nil, nil
	c.RuntimeVersionConfig = nil
	return *c
}

// optimization says whether a version runs from a snapshot, as the API words it.
func optimization(v *store.Version) string {
	if v.SnapStart == api.SnapStartApplyOnPublishedVersions && v.Number != store.Latest && v.State == api.StateActive {
		return api.SnapStartOptimizationStatusOn
	}
	return api.SnapStartOptimizationStatusOff
}

// runtimeVersion returns the ARN of a runtime's current version. It is a
// fingerprint of the runtime's name: Hearth takes the interpreter that it finds.
func runtimeVersion(f arn.Function, runtime string) string {
	if runtime == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("hearth runtime " + runtime))
	return "arn:" + f.Partition + ":lambda:" + f.Region + "::runtime:" + hex.EncodeToString(sum[:])
}

// fingerprint is equal for versions of the same code and configuration.
func fingerprint(v store.Version) string {
	v.Number, v.RevisionID, v.LastModified = "", "", time.Time{}
	v.State, v.StateReason, v.StateReasonCode = "", "", ""
	v.UpdateStatus, v.UpdateReason, v.UpdateReasonCode = "", "", ""
	b, err := json.Marshal(v)
	if err != nil {
		panic("lambda: a version always marshals: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
