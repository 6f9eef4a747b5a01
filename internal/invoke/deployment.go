package invoke

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/backend"
	"github.com/hearth-run/hearth/internal/store"
)

// newVersion makes what the pool needs of a version's record.
func newVersion(name arn.Function, functionID string, r *store.Version) *version {
	v := &version{version: r.Number, state: r.State, tenancy: r.Tenancy != "", durable: r.Durable != nil, deployment: Deployment(name, functionID, r)}
	v.id = v.deployment.ID()
	return v
}

// Deployment returns what instances of a function's version run.
func Deployment(name arn.Function, functionID string, r *store.Version) backend.Deployment {
	d := backend.Deployment{
		Partition:    name.Partition,
		AccountID:    name.AccountID,
		Region:       name.Region,
		Function:     name.Name,
		FunctionID:   functionID,
		Version:      r.Number,
		Runtime:      r.Runtime,
		Handler:      r.Handler,
		Architecture: r.Architecture,
		CodeHash:     r.Code.Hash,
		Image:        r.Code.ImageURI,
		Environment:  r.Environment,
		MemoryMB:     int(r.MemoryMB),
		EphemeralMB:  int(r.EphemeralMB),
		Timeout:      time.Duration(r.TimeoutSeconds) * time.Second,
		Tracing:      r.Tracing,
		LogGroup:     r.LogGroup,
		LogFormat:    r.LogFormat,
		AppLogLevel:  r.AppLogLevel,
		SysLogLevel:  r.SysLogLevel,
		Role:         r.Role,
		Other:        map[string]string{},
	}
	if r.Code.ResolvedImage != "" {
		d.Image = r.Code.ResolvedImage
	}
	for _, l := range r.Layers {
		d.Layers = append(d.Layers, backend.Layer{ARN: l.ARN, CodeHash: l.CodeHash})
	}
	if c := r.ImageConfig; c != nil {
		d.ImageConfig = backend.ImageConfig{EntryPoint: c.EntryPoint, Command: c.Command}
		if c.WorkingDirectory != nil {
			d.ImageConfig.WorkingDirectory = *c.WorkingDirectory
		}
	}
	other := func(name string, v any) {
		b, err := json.Marshal(v)
		if s := string(b); err == nil && s != "null" && s != `""` {
			d.Other[name] = strings.Trim(s, `"`)
		}
	}
	other("VpcConfig", r.Vpc)
	other("FileSystemConfigs", r.FileSystems)
	other("KMSKeyArn", r.KMSKeyARN)
	other("SnapStart", r.SnapStart)
	other("DeadLetterConfig", r.DeadLetterARN)
	other("TenancyConfig", r.Tenancy)
	other("CapacityProviderConfig", r.CapacityProvider)
	other("DurableConfig", r.Durable)
	other("RuntimeVersionArn", r.RuntimeVersionARN)
	return d
}
