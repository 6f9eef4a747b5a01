package agent

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// The platform's own events. Each becomes a line of the log (text, or in the
// JSON format a record, if its level is not below the function's system log level),
// and an event for the subscribers of the Telemetry and Logs APIs. The schemas and
// levels are AWS's:
// https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html

// emit sends one event. text is "" if the text format has no line for it.
func (o *output) emit(at time.Time, kind string, level int, text string, record any) {
	if o.json {
		if level >= o.sysLevel {
			o.write(instance.LogPlatform, at, eventJSON(at, kind, record))
		}
	} else if text != "" {
		o.write(instance.LogPlatform, at, []byte(text))
	}
	o.tel.platform(at, kind, record)
}

// wanted reports whether anybody takes records besides text lines.
func (o *output) wanted() bool { return o.json || o.tel.active.Load() }

func eventJSON(at time.Time, kind string, record any) []byte {
	b, err := json.Marshal(struct {
		Time   string `json:"time"`
		Type   string `json:"type"`
		Record any    `json:"record"`
	}{stamp(at), kind, record})
	if err != nil {
		panic("agent: a platform event always marshals: " + err.Error())
	}
	return b
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// ms is a duration as AWS writes it in JSON: milliseconds.
type ms time.Duration

func (d ms) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Duration(d).Microseconds())/1000, 'f', -1, 64), nil
}

func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 2, 64)
}

type (
	initStartRecord struct {
		InitializationType string `json:"initializationType"`
		Phase              phase  `json:"phase"`
		RuntimeVersion     string `json:"runtimeVersion,omitempty"`
		RuntimeVersionARN  string `json:"runtimeVersionArn,omitempty"`
		FunctionName       string `json:"functionName"`
		FunctionVersion    string `json:"functionVersion"`
		InstanceID         string `json:"instanceId,omitempty"`
		InstanceMaxMemory  int64  `json:"instanceMaxMemory,omitempty"`
	}
	initDoneRecord struct {
		InitializationType string `json:"initializationType"`
		Phase              phase  `json:"phase"`
		Status             string `json:"status"`
		ErrorType          string `json:"errorType,omitempty"`
	}
	durationMetrics struct {
		DurationMs ms `json:"durationMs"`
	}
	initReportRecord struct {
		InitializationType string          `json:"initializationType"`
		Phase              phase           `json:"phase"`
		Status             string          `json:"status"`
		ErrorType          string          `json:"errorType,omitempty"`
		Metrics            durationMetrics `json:"metrics"`
	}
	restoreStartRecord struct {
		FunctionName      string `json:"functionName"`
		FunctionVersion   string `json:"functionVersion"`
		RuntimeVersion    string `json:"runtimeVersion,omitempty"`
		InstanceMaxMemory int64  `json:"instanceMaxMemory,omitempty"`
	}
	restoreRecord struct {
		Status    string           `json:"status"`
		ErrorType string           `json:"errorType,omitempty"`
		Metrics   *durationMetrics `json:"metrics,omitempty"`
	}
	tracingRecord struct {
		SpanID string `json:"spanId,omitempty"`
		Type   string `json:"type"`
		Value  string `json:"value"`
	}
	startRecord struct {
		RequestID string         `json:"requestId"`
		TenantID  string         `json:"tenantId,omitempty"`
		Version   string         `json:"version"`
		Tracing   *tracingRecord `json:"tracing,omitempty"`
	}
	spanRecord struct {
		Name       string `json:"name"`
		Start      string `json:"start"`
		DurationMs ms     `json:"durationMs"`
	}
	doneMetrics struct {
		DurationMs    ms    `json:"durationMs"`
		ProducedBytes int64 `json:"producedBytes"`
	}
	runtimeDoneRecord struct {
		RequestID string         `json:"requestId"`
		TenantID  string         `json:"tenantId,omitempty"`
		Status    string         `json:"status"`
		ErrorType string         `json:"errorType,omitempty"`
		Metrics   doneMetrics    `json:"metrics"`
		Tracing   *tracingRecord `json:"tracing,omitempty"`
		Spans     []spanRecord   `json:"spans,omitempty"`
	}
	reportMetrics struct {
		DurationMs        ms    `json:"durationMs"`
		BilledDurationMs  int64 `json:"billedDurationMs"`
		MemorySizeMB      int   `json:"memorySizeMB"`
		MaxMemoryUsedMB   int   `json:"maxMemoryUsedMB"`
		InitDurationMs    *ms   `json:"initDurationMs,omitempty"`
		RestoreDurationMs *ms   `json:"restoreDurationMs,omitempty"`
	}
	reportRecord struct {
		RequestID string         `json:"requestId"`
		TenantID  string         `json:"tenantId,omitempty"`
		Metrics   reportMetrics  `json:"metrics"`
		Status    string         `json:"status"`
		ErrorType string         `json:"errorType,omitempty"`
		Tracing   *tracingRecord `json:"tracing,omitempty"`
	}
	extensionRecord struct {
		Name      string   `json:"name"`
		State     string   `json:"state"`
		Events    []string `json:"events"`
		ErrorType string   `json:"errorType,omitempty"`
	}
	subscriptionRecord struct {
		Name  string   `json:"name"`
		State string   `json:"state"`
		Types []string `json:"types"`
	}
	droppedRecord struct {
		Reason         string `json:"reason"`
		DroppedRecords int    `json:"droppedRecords"`
		DroppedBytes   int    `json:"droppedBytes"`
	}
	endRecord struct {
		RequestID string `json:"requestId"`
	}
	faultRecord string
)

// tracing returns an event's trace, or nil.
func tracing(ev *instance.Event) *tracingRecord {
	if ev.TraceID == "" {
		return nil
	}
	return &tracingRecord{SpanID: traceField(ev.TraceID, "Parent"), Type: "X-Amzn-Trace-Id", Value: ev.TraceID}
}

// traceField returns a field of an X-Ray header.
func traceField(header, name string) string {
	for f := range strings.SplitSeq(header, ";") {
		if v, ok := strings.CutPrefix(f, name+"="); ok {
			return v
		}
	}
	return ""
}

// failed returns the words for how something ended.
func failed(f *failure) (status, errorType string) {
	if f == nil {
		return statusSuccess, ""
	}
	if f.Status == statusTimeout {
		return statusTimeout, ""
	}
	return f.Status, reportType(f.Type)
}

func levelOf(f *failure, good int) int {
	if f != nil {
		return levelWarn
	}
	return good
}

// runtimeVersion spells the runtime as AWS's log lines do: "python:3.13",
// "nodejs:22", "provided:al2023".
func (o *output) runtimeVersion() string {
	runtime := o.spec.Runtime
	if v, ok := strings.CutPrefix(runtime, "provided."); ok {
		return "provided:" + v
	}
	if i := strings.IndexAny(runtime, "0123456789"); i > 0 {
		return runtime[:i] + ":" + strings.TrimSuffix(runtime[i:], ".x")
	}
	return runtime
}

func (o *output) initStart(e *environment) {
	version := o.runtimeVersion()
	text, level := "", levelDebug
	if version != "" {
		text, level = "INIT_START Runtime Version: "+version+"\tRuntime Version ARN: "+o.spec.RuntimeVersionARN, levelInfo
	}
	o.emit(time.Now(), "platform.initStart", level, text, initStartRecord{
		InitializationType: o.spec.InitType, Phase: e.phase, RuntimeVersion: version,
		FunctionName: o.spec.FunctionName, FunctionVersion: o.spec.FunctionVersion,
		InstanceID: o.spec.LogStream, InstanceMaxMemory: int64(o.spec.MemoryMB) << 20,
	})
}

func (o *output) initRuntimeDone(e *environment, f *failure) {
	status, errorType := failed(f)
	o.emit(time.Now(), "platform.initRuntimeDone", levelOf(f, levelDebug), "", initDoneRecord{o.spec.InitType, e.phase, status, errorType})
}

func (o *output) initReport(e *environment, f *failure) {
	status, errorType := failed(f)
	text := ""
	if f != nil {
		text = "INIT_REPORT Init Duration: " + millis(e.initTime) + " ms\tPhase: " + string(e.phase) + "\tStatus: " + status
		if errorType != "" {
			text += "\tError Type: " + errorType
		}
	}
	good := levelDebug
	if o.spec.InitType == initSnap {
		good = levelInfo
	}
	o.emit(time.Now(), "platform.initReport", levelOf(f, good), text, initReportRecord{
		o.spec.InitType, e.phase, status, errorType, durationMetrics{ms(e.initTime)}})
}

func (o *output) restoreStart(e *environment) {
	o.emit(time.Now(), "platform.restoreStart", levelInfo, "RESTORE_START Runtime Version: "+o.runtimeVersion()+"\tRuntime Version ARN: ",
		restoreStartRecord{o.spec.FunctionName, o.spec.FunctionVersion, o.runtimeVersion(), int64(o.spec.MemoryMB) << 20})
}

func (o *output) restoreRuntimeDone(e *environment, f *failure) {
	status, errorType := failed(f)
	o.emit(time.Now(), "platform.restoreRuntimeDone", levelOf(f, levelDebug), "", restoreRecord{Status: status, ErrorType: errorType})
}

func (o *output) restoreReport(e *environment) {
	o.emit(time.Now(), "platform.restoreReport", levelInfo, "RESTORE_REPORT Restore Duration: "+millis(e.restoreTime)+" ms",
		restoreRecord{Status: statusSuccess, Metrics: &durationMetrics{ms(e.restoreTime)}})
}

// extensions reports the extensions that have not been reported yet.
func (o *output) extensions(e *environment) {
	e.mu.Lock()
	var records []extensionRecord
	for _, x := range e.exts {
		if !x.said {
			x.said = true
			events := x.events
			if events == nil {
				events = []string{}
			}
			records = append(records, extensionRecord{x.name, string(x.state), events, x.errorType})
		}
	}
	e.mu.Unlock()
	for _, r := range records {
		text := "EXTENSION\tName: " + r.Name + "\tState: " + r.State + "\tEvents: [" + strings.Join(r.Events, ",") + "]"
		level := levelInfo
		if r.ErrorType != "" {
			text += "\tError Type: " + r.ErrorType
			level = levelWarn
		}
		o.emit(time.Now(), "platform.extension", level, text, r)
	}
}

func (o *output) subscribed(api subscriptionAPI, name, state string, types []string) {
	title, kind := "TELEMETRY", "platform.telemetrySubscription"
	if api == apiLogs {
		title, kind = "LOGS", "platform.logsSubscription"
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = strings.ToUpper(t[:1]) + t[1:]
	}
	o.emit(time.Now(), kind, levelInfo, title+"\tName: "+name+"\tState: "+state+"\tTypes: ["+strings.Join(names, ", ")+"]",
		subscriptionRecord{name, state, types})
}

func (o *output) start(v *invocation) {
	text := "START RequestId: " + v.ev.RequestID + " Version: " + o.spec.FunctionVersion
	if !o.wanted() {
		o.write(instance.LogPlatform, v.clock.began, []byte(text))
		return
	}
	o.emit(v.clock.began, "platform.start", levelInfo, text, startRecord{v.ev.RequestID, v.ev.TenantID, o.spec.FunctionVersion, tracing(v.ev)})
}

// end writes the last lines of an event.
func (o *output) end(v *invocation) {
	now := time.Now()
	r := &v.report
	if o.wanted() {
		o.runtimeDone(v, now)
	}
	if f := v.fail; f != nil && !o.json {
		switch {
		case f.Status == statusTimeout:
			o.write(instance.LogPlatform, now, []byte(stamp(now)+" "+r.RequestID+" "+timeoutText(v.ev.Timeout)+"\n"))
		case f.Text != "":
			o.write(instance.LogPlatform, now, []byte("RequestId: "+r.RequestID+" Error: "+f.Text+"\n"+f.Type))
		}
	}
	if f := v.fail; f != nil && f.Text != "" && o.tel.active.Load() {
		o.tel.platform(now, "platform.fault", faultRecord("RequestId: "+r.RequestID+" Error: "+f.Text+"\n"+f.Type))
	}
	if !o.wanted() {
		o.mu.Lock()
		o.writeLocked(instance.LogPlatform, now, []byte("END RequestId: "+r.RequestID))
		o.writeLocked(instance.LogPlatform, now, o.reportLine(v))
		o.request, o.tail = "", nil
		o.mu.Unlock()
		return
	}
	if !o.json {
		o.write(instance.LogPlatform, now, []byte("END RequestId: "+r.RequestID))
	}
	o.tel.platform(now, "platform.end", endRecord{r.RequestID})
	record := reportRecord{RequestID: r.RequestID, TenantID: v.ev.TenantID, Status: r.Status, Tracing: tracing(v.ev), Metrics: reportMetrics{
		DurationMs: ms(r.Duration), BilledDurationMs: r.BilledDuration.Milliseconds(), MemorySizeMB: r.MemorySize, MaxMemoryUsedMB: r.MaxMemoryUsed,
	}}
	if r.Status != statusTimeout {
		record.ErrorType = r.ErrorType
	}
	if r.InitDuration > 0 {
		d := ms(r.InitDuration)
		record.Metrics.InitDurationMs = &d
	}
	if r.RestoreDuration > 0 {
		d := ms(r.RestoreDuration)
		record.Metrics.RestoreDurationMs = &d
	}
	level := levelInfo
	if r.Status != statusSuccess {
		level = levelWarn
	}
	o.emit(now, "platform.report", level, string(o.reportLine(v)), record)
	o.begin("", nil, 1)
}

func (o *output) runtimeDone(v *invocation, now time.Time) {
	r := &v.report
	record := runtimeDoneRecord{RequestID: r.RequestID, TenantID: v.ev.TenantID, Status: r.Status, ErrorType: r.ErrorType, Tracing: tracing(v.ev),
		Metrics: doneMetrics{DurationMs: ms(v.took)}}
	if r.Status == statusTimeout {
		record.ErrorType = ""
	}
	if v.ans != nil {
		record.Metrics.ProducedBytes = max(int64(len(v.ans.payload)), v.ans.size)
		record.Spans = []spanRecord{
			{"responseLatency", stamp(v.clock.began), ms(v.took)},
			{"runtimeOverhead", stamp(v.clock.began.Add(v.took)), ms(max(0, r.Duration-v.took))},
		}
	}
	level := levelDebug
	if r.Status != statusSuccess {
		level = levelWarn
	}
	o.emit(now, "platform.runtimeDone", level, "", record)
}

// reportLine returns the REPORT line.
func (o *output) reportLine(v *invocation) []byte {
	r := &v.report
	b := make([]byte, 0, 256)
	b = append(b, "REPORT RequestId: "...)
	b = append(b, r.RequestID...)
	b = append(b, "\tDuration: "...)
	b = strconv.AppendFloat(b, float64(r.Duration)/float64(time.Millisecond), 'f', 2, 64)
	b = append(b, " ms\tBilled Duration: "...)
	b = strconv.AppendInt(b, r.BilledDuration.Milliseconds(), 10)
	b = append(b, " ms\tMemory Size: "...)
	b = strconv.AppendInt(b, int64(r.MemorySize), 10)
	b = append(b, " MB\tMax Memory Used: "...)
	b = strconv.AppendInt(b, int64(r.MaxMemoryUsed), 10)
	b = append(b, " MB\t"...)
	if r.InitDuration > 0 && r.RestoreDuration == 0 {
		b = append(b, "Init Duration: "+millis(r.InitDuration)+" ms\t"...)
	}
	if r.RestoreDuration > 0 {
		b = append(b, "Restore Duration: "+millis(r.RestoreDuration)+" ms\t"...)
	}
	if r.Status != statusSuccess {
		b = append(b, "Status: "+r.Status...)
		if r.Status == statusError && r.ErrorType != "" {
			b = append(b, "\tError Type: "+r.ErrorType...)
		}
		b = append(b, '\t')
	}
	if o.spec.Tracing == "Active" && traceField(v.ev.TraceID, "Sampled") == "1" {
		b = append(b, "\nXRAY TraceId: "+traceField(v.ev.TraceID, "Root")+"\tSegmentId: "+traceField(v.ev.TraceID, "Parent")+"\tSampled: true\t"...)
	}
	return b
}
