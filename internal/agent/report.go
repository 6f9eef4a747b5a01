package agent

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 2, 64)
}

func number(d time.Duration) json.Number {
	return json.Number(strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64))
}

// platform writes a line of the platform: text, or in the JSON format a record.
func (o *output) platform(a *Agent, at time.Time, text, kind string, record map[string]any) {
	if a.spec.LogFormat != "JSON" {
		if text != "" {
			o.write(instance.LogPlatform, at, []byte(text))
		}
		return
	}
	b, err := json.Marshal(struct {
		Time   string         `json:"time"`
		Type   string         `json:"type"`
		Record map[string]any `json:"record"`
	}{at.UTC().Format("2006-01-02T15:04:05.000Z"), kind, record})
	if err == nil {
		o.write(instance.LogPlatform, at, b)
	}
}

// quiet says whether the JSON system log level leaves out records of a level.
func (a *Agent) quiet(level string) bool {
	rank := map[string]int{"DEBUG": 0, "INFO": 1, "WARN": 2}
	return a.spec.LogFormat == "JSON" && rank[level] < rank[a.spec.SysLogLevel]
}

func (o *output) platformInitStart(at time.Time, a *Agent, p phase) {
	if a.quiet("INFO") {
		return
	}
	runtime := a.spec.Runtime
	if runtime == "" {
		runtime = "image"
	}
	o.platform(a, at, "INIT_START Runtime Version: "+runtime+"\tRuntime Version ARN: ", "platform.initStart", map[string]any{
		"initializationType": a.spec.InitType, "phase": string(p), "runtimeVersion": runtime,
		"functionName": a.spec.FunctionName, "functionVersion": a.spec.FunctionVersion,
	})
}

func (o *output) platformInitReport(d time.Duration, p phase, f *failure) {
	o.write(instance.LogPlatform, time.Now(), fmt.Appendf(nil, "INIT_REPORT Init Duration: %s ms\tPhase: %s\tStatus: %s\tError Type: %s", millis(d), p, f.Status, f.Type))
}

func (o *output) platformStart(at time.Time, a *Agent, ev *instance.Event) {
	if a.quiet("INFO") {
		return
	}
	o.platform(a, at, "START RequestId: "+ev.RequestID+" Version: "+a.spec.FunctionVersion, "platform.start",
		map[string]any{"requestId": ev.RequestID, "version": a.spec.FunctionVersion})
}

func (o *output) platformTimeout(ev *instance.Event) {
	now := time.Now()
	o.write(instance.LogPlatform, now, fmt.Appendf(nil, "%s %s Task timed out after %.2f seconds\n", now.UTC().Format("2006-01-02T15:04:05.000Z"), ev.RequestID, ev.Timeout.Seconds()))
}

func (o *output) platformEnd(a *Agent, ev *instance.Event, r *instance.Report) {
	now := time.Now()
	if a.spec.LogFormat != "JSON" {
		o.write(instance.LogPlatform, now, []byte("END RequestId: "+ev.RequestID))
		var b strings.Builder
		fmt.Fprintf(&b, "REPORT RequestId: %s\tDuration: %s ms\tBilled Duration: %d ms\tMemory Size: %d MB\tMax Memory Used: %d MB",
			ev.RequestID, millis(r.Duration), r.BilledDuration.Milliseconds(), r.MemorySize, r.MaxMemoryUsed)
		if r.InitDuration > 0 {
			fmt.Fprintf(&b, "\tInit Duration: %s ms", millis(r.InitDuration))
		}
		if r.Status != "success" {
			b.WriteString("\tStatus: " + r.Status)
			if r.ErrorType != "" && r.Status == "error" {
				b.WriteString("\tError Type: " + r.ErrorType)
			}
		} else {
			b.WriteByte('\t')
		}
		o.write(instance.LogPlatform, now, []byte(b.String()))
		return
	}
	if a.quiet("INFO") {
		return
	}
	metrics := map[string]any{
		"durationMs": number(r.Duration), "billedDurationMs": r.BilledDuration.Milliseconds(),
		"memorySizeMB": r.MemorySize, "maxMemoryUsedMB": r.MaxMemoryUsed,
	}
	if r.InitDuration > 0 {
		metrics["initDurationMs"] = number(r.InitDuration)
	}
	record := map[string]any{"requestId": ev.RequestID, "metrics": metrics, "status": r.Status}
	if r.ErrorType != "" {
		record["errorType"] = r.ErrorType
	}
	o.platform(a, now, "", "platform.report", record)
}
