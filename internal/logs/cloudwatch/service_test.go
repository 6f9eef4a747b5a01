package cloudwatch_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hearth-run/hearth/internal/api"
	"github.com/hearth-run/hearth/internal/awsapi"
	logsapi "github.com/hearth-run/hearth/internal/awsapi/logs"
	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/logs"
	"github.com/hearth-run/hearth/internal/logs/cloudwatch"
)

var scope = logs.Scope{Account: "000000000000", Region: "us-east-1"}

func open(t *testing.T) (*logs.Store, *cloudwatch.Service, context.Context) {
	t.Helper()
	store, err := logs.Open(t.TempDir(), logs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	ctx := awsapi.WithRequest(t.Context(), &awsapi.Request{ID: "r-1", Partition: "aws", AccountID: scope.Account, Region: scope.Region})
	return store, cloudwatch.New(store), ctx
}

func ptr[T any](v T) *T { return &v }

// code returns an error's exception and message.
func code(err error) string {
	var e *awsapi.Error
	if errors.As(err, &e) {
		return e.Code + ": " + e.Message
	}
	return fmt.Sprint(err)
}

func TestErrors(t *testing.T) {
	_, s, ctx := open(t)
	if err := s.CreateLogGroup(ctx, &logsapi.CreateLogGroupRequest{LogGroupName: ptr("g")}); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateLogStream(ctx, &logsapi.CreateLogStreamRequest{LogGroupName: ptr("g"), LogStreamName: ptr("s")}); err != nil {
		t.Fatal(err)
	}
	const (
		noGroup  = "ResourceNotFoundException: The specified log group does not exist."
		noStream = "ResourceNotFoundException: The specified log stream does not exist."
	)
	second := func(_ any, err error) error { return err }
	for i, tt := range []struct {
		err  error
		want string
	}{
		{s.CreateLogGroup(ctx, &logsapi.CreateLogGroupRequest{LogGroupName: ptr("g")}), "ResourceAlreadyExistsException: The specified log group already exists"},
		{s.CreateLogStream(ctx, &logsapi.CreateLogStreamRequest{LogGroupName: ptr("g"), LogStreamName: ptr("s")}), "ResourceAlreadyExistsException: The specified log stream already exists"},
		{s.CreateLogStream(ctx, &logsapi.CreateLogStreamRequest{LogGroupName: ptr("x"), LogStreamName: ptr("s")}), noGroup},
		{s.DeleteLogGroup(ctx, &logsapi.DeleteLogGroupRequest{LogGroupName: ptr("x")}), noGroup},
		{s.DeleteLogStream(ctx, &logsapi.DeleteLogStreamRequest{LogGroupName: ptr("g"), LogStreamName: ptr("x")}), noStream},
		{second(s.GetLogEvents(ctx, &logsapi.GetLogEventsRequest{LogGroupName: ptr("x"), LogStreamName: ptr("s")})), noGroup},
		{second(s.GetLogEvents(ctx, &logsapi.GetLogEventsRequest{LogGroupName: ptr("g"), LogStreamName: ptr("x")})), noStream},
		{second(s.GetLogEvents(ctx, &logsapi.GetLogEventsRequest{LogGroupName: ptr("g"), LogStreamName: ptr("s"), NextToken: ptr("x")})), "InvalidParameterException: The specified nextToken is invalid."},
		{second(s.FilterLogEvents(ctx, &logsapi.FilterLogEventsRequest{LogGroupName: ptr("x")})), noGroup},
		{second(s.FilterLogEvents(ctx, &logsapi.FilterLogEventsRequest{LogGroupName: ptr("g"), FilterPattern: ptr("{")})), "InvalidParameterException: Invalid filter pattern"},
		{second(s.FilterLogEvents(ctx, &logsapi.FilterLogEventsRequest{LogGroupName: ptr("g"), LogGroupIdentifier: ptr("g")})), "InvalidParameterException: LogGroup name and LogGroup ARN are mutually exclusive parameters."},
		{second(s.FilterLogEvents(ctx, &logsapi.FilterLogEventsRequest{LogGroupName: ptr("g"), LogStreamNames: []string{"x"}})), noStream},
		{second(s.DescribeLogStreams(ctx, &logsapi.DescribeLogStreamsRequest{LogGroupName: ptr("x")})), noGroup},
		{second(s.DescribeLogStreams(ctx, &logsapi.DescribeLogStreamsRequest{LogGroupName: ptr("g"), OrderBy: ptr("LastEventTime"), LogStreamNamePrefix: ptr("s")})), "InvalidParameterException: Cannot order by LastEventTime with a logStreamNamePrefix."},
		{second(s.PutLogEvents(ctx, &logsapi.PutLogEventsRequest{LogGroupName: ptr("g"), LogStreamName: ptr("x")})), noStream},
		{second(s.PutLogEvents(ctx, &logsapi.PutLogEventsRequest{LogGroupName: ptr("g"), LogStreamName: ptr("s"), LogEvents: []logsapi.InputLogEvent{{Timestamp: ptr(int64(2)), Message: ptr("a")}, {Timestamp: ptr(int64(1)), Message: ptr("a")}}})),
			"InvalidParameterException: Log events in a single PutLogEvents request must be in chronological order."},
		{s.PutRetentionPolicy(ctx, &logsapi.PutRetentionPolicyRequest{LogGroupName: ptr("x"), RetentionInDays: ptr(int32(7))}), noGroup},
		{s.TagResource(ctx, &logsapi.TagResourceRequest{ResourceArn: ptr("arn:aws:logs:us-east-1:000000000000:log-group:x"), Tags: map[string]string{"a": "b"}}), noGroup},
		{s.StartLiveTail(ctx, &logsapi.StartLiveTailRequest{LogGroupIdentifiers: []string{"arn:aws:logs:us-east-1:000000000000:log-group:x"}}, nil), noGroup},
	} {
		if got := code(tt.err); got != tt.want {
			t.Errorf("%d: %s, want %s", i, got, tt.want)
		}
	}
	if got := code(s.PutRetentionPolicy(ctx, &logsapi.PutRetentionPolicyRequest{LogGroupName: ptr("g"), RetentionInDays: ptr(int32(2))})); !strings.HasPrefix(got, "InvalidParameterException") {
		t.Errorf("retention of 2 days: %s", got)
	}
}

func TestGroupsAndStreams(t *testing.T) {
	_, s, ctx := open(t)
	for _, g := range []string{"/aws/lambda/a", "/aws/lambda/b", "other"} {
		if err := s.CreateLogGroup(ctx, &logsapi.CreateLogGroupRequest{LogGroupName: ptr(g), Tags: map[string]string{"k": "v"}}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	in := &logsapi.DescribeLogGroupsRequest{Limit: ptr(int32(2))}
	for {
		out, err := s.DescribeLogGroups(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range out.LogGroups {
			names = append(names, *g.LogGroupName)
			if *g.Arn != "arn:aws:logs:us-east-1:000000000000:log-group:"+*g.LogGroupName+":*" || *g.Arn != *g.LogGroupArn+":*" || *g.CreationTime == 0 || g.RetentionInDays != nil {
				t.Errorf("group: %+v", g)
			}
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if d := cmp.Diff([]string{"/aws/lambda/a", "/aws/lambda/b", "other"}, names); d != "" {
		t.Errorf("groups (-want +got):\n%s", d)
	}
	out, err := s.DescribeLogGroups(ctx, &logsapi.DescribeLogGroupsRequest{LogGroupNamePattern: ptr("LAMBDA/B")})
	if err != nil || len(out.LogGroups) != 1 {
		t.Errorf("by pattern: %+v, %v", out, err)
	}
	arn := "arn:aws:logs:us-east-1:000000000000:log-group:other"
	if err := errors.Join(
		s.PutRetentionPolicy(ctx, &logsapi.PutRetentionPolicyRequest{LogGroupName: ptr("other"), RetentionInDays: ptr(int32(7))}),
		s.TagResource(ctx, &logsapi.TagResourceRequest{ResourceArn: &arn, Tags: map[string]string{"x": "y"}}),
		s.UntagResource(ctx, &logsapi.UntagResourceRequest{ResourceArn: ptr(arn + ":*"), TagKeys: []string{"k"}}),
	); err != nil {
		t.Fatal(err)
	}
	if out, err = s.DescribeLogGroups(ctx, &logsapi.DescribeLogGroupsRequest{LogGroupNamePrefix: ptr("o")}); err != nil || *out.LogGroups[0].RetentionInDays != 7 {
		t.Errorf("with retention: %+v, %v", out, err)
	}
	if tags, err := s.ListTagsForResource(ctx, &logsapi.ListTagsForResourceRequest{ResourceArn: &arn}); err != nil || cmp.Diff(map[string]string{"x": "y"}, tags.Tags) != "" {
		t.Errorf("tags: %v, %v", tags, err)
	}

	for i := range 5 {
		name := fmt.Sprint("s", i)
		if err := s.CreateLogStream(ctx, &logsapi.CreateLogStreamRequest{LogGroupName: ptr("other"), LogStreamName: &name}); err != nil {
			t.Fatal(err)
		}
		at := time.Now().UnixMilli() - int64(i*1000)
		if i < 4 {
			if _, err := s.PutLogEvents(ctx, &logsapi.PutLogEventsRequest{LogGroupName: ptr("other"), LogStreamName: &name, LogEvents: []logsapi.InputLogEvent{{Timestamp: &at, Message: ptr("hello")}}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		in   logsapi.DescribeLogStreamsRequest
		want string
	}{
		{logsapi.DescribeLogStreamsRequest{}, "s0 s1 s2 s3 s4"},
		{logsapi.DescribeLogStreamsRequest{Descending: ptr(true)}, "s4 s3 s2 s1 s0"},
		{logsapi.DescribeLogStreamsRequest{OrderBy: ptr("LastEventTime"), Descending: ptr(true)}, "s0 s1 s2 s3 s4"},
		{logsapi.DescribeLogStreamsRequest{LogStreamNamePrefix: ptr("s2")}, "s2"},
	} {
		tt.in.LogGroupIdentifier, tt.in.Limit = &arn, ptr(int32(2))
		var names []string
		for {
			out, err := s.DescribeLogStreams(ctx, &tt.in)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range out.LogStreams {
				names = append(names, *d.LogStreamName)
				if empty := *d.LogStreamName == "s4"; empty != (d.LastEventTimestamp == nil) || *d.Arn != arn+":log-stream:"+*d.LogStreamName {
					t.Errorf("stream: %+v", d)
				}
			}
			if tt.in.NextToken = out.NextToken; out.NextToken == nil {
				break
			}
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("streams of %+v: %s, want %s", tt.in, got, tt.want)
		}
	}
}

// TestPutRejects: events too old and too new are counted, and the others kept.
func TestPutRejects(t *testing.T) {
	store, s, ctx := open(t)
	if err := errors.Join(store.CreateGroup(scope, "g", logs.GroupOptions{}), store.CreateStream(scope, "g", "s")); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	put := func(ages ...time.Duration) *logsapi.RejectedLogEventsInfo {
		t.Helper()
		in := &logsapi.PutLogEventsRequest{LogGroupName: ptr("g"), LogStreamName: ptr("s")}
		for _, age := range ages {
			in.LogEvents = append(in.LogEvents, logsapi.InputLogEvent{Timestamp: ptr(now.Add(-age).UnixMilli()), Message: ptr(age.String())})
		}
		out, err := s.PutLogEvents(ctx, in)
		if err != nil || out.NextSequenceToken == nil {
			t.Fatal(out, err)
		}
		return out.RejectedLogEventsInfo
	}
	const day = 24 * time.Hour
	if d := cmp.Diff(&logsapi.RejectedLogEventsInfo{TooOldLogEventEndIndex: ptr(int32(2))}, put(14*day+10*time.Hour, 14*day+5*time.Hour, 14*day-2*time.Hour)); d != "" {
		t.Errorf("old (-want +got):\n%s", d)
	}
	if d := cmp.Diff(&logsapi.RejectedLogEventsInfo{TooNewLogEventStartIndex: ptr(int32(1))}, put(0, -3*time.Hour)); d != "" {
		t.Errorf("new (-want +got):\n%s", d)
	}
	out, err := s.FilterLogEvents(ctx, &logsapi.FilterLogEventsRequest{LogGroupName: ptr("g"), FilterPattern: ptr("-24h")})
	if err != nil || len(out.Events) != 2 {
		t.Errorf("kept: %+v, %v", out, err)
	}
}

// liveTail collects a session's updates.
type liveTail struct {
	started chan *logsapi.LiveTailSessionStart
	updates chan *logsapi.LiveTailSessionUpdate
}

func (l liveTail) SessionStart(e *logsapi.LiveTailSessionStart) error   { l.started <- e; return nil }
func (l liveTail) SessionUpdate(e *logsapi.LiveTailSessionUpdate) error { l.updates <- e; return nil }

func TestLiveTail(t *testing.T) {
	store, s, ctx := open(t)
	store.CreateGroup(scope, "g", logs.GroupOptions{})
	ctx, cancel := context.WithCancel(ctx)
	out := liveTail{make(chan *logsapi.LiveTailSessionStart, 1), make(chan *logsapi.LiveTailSessionUpdate, 100)}
	ended := make(chan error, 1)
	go func() {
		ended <- s.StartLiveTail(ctx, &logsapi.StartLiveTailRequest{LogGroupIdentifiers: []string{"arn:aws:logs:us-east-1:000000000000:log-group:g"}, LogStreamNamePrefixes: []string{"s"}, LogEventFilterPattern: ptr("-no")}, out)
	}()
	if start := <-out.started; *start.SessionId == "" || *start.RequestId != "r-1" {
		t.Errorf("start: %+v", start)
	}
	w, other := store.Writer(scope, "g", "s1"), store.Writer(scope, "g", "x1")
	for i := range 600 {
		other.WriteLog(instance.LogRecord{Time: time.Now(), Message: []byte("other")})
		w.WriteLog(instance.LogRecord{Time: time.Now(), Message: []byte("no")})
		w.WriteLog(instance.LogRecord{Time: time.Now(), Message: fmt.Appendf(nil, "line %d", i)})
	}
	n, sampled := 0, false
	for n == 0 {
		u := <-out.updates
		n += len(u.SessionResults)
		sampled = sampled || *u.SessionMetadata.Sampled
		for _, e := range u.SessionResults {
			if *e.LogStreamName != "s1" || !strings.HasPrefix(*e.Message, "line ") {
				t.Errorf("event: %s %s", *e.LogStreamName, *e.Message)
			}
		}
	}
	if n != 500 || !sampled {
		t.Errorf("%d events of 600, sampled %v, want 500 and true", n, sampled)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// TestClients reads a function's log with boto3 over HTTP: pages, tokens, the
// paginator, a live tail.
func TestClients(t *testing.T) {
	python := hearthtest.Need(t, "python")
	if out, err := exec.Command(python, "-c", "import boto3").CombinedOutput(); err != nil {
		hearthtest.Skip(t, "boto3", string(out))
	}
	store, s, _ := open(t)
	server := httptest.NewServer(api.New(api.Config{Logs: s, Lambda: nil}))
	defer server.Close()
	w := store.Writer(scope, "/aws/lambda/fn", "2026/11/25/[$LATEST]0123456789abcdef")
	for i := range 25 {
		w.WriteLog(instance.LogRecord{Time: time.Now(), RequestID: "r", Message: fmt.Appendf(nil, `{"level":"INFO","n":%d}`, i)})
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for i := 100; ; i++ {
			select {
			case <-time.After(50 * time.Millisecond):
				store.Writer(scope, "live", "s").WriteLog(instance.LogRecord{Time: time.Now(), Message: fmt.Appendf(nil, "live %d", i)})
			case <-done:
				return
			}
		}
	}()
	const script = `
import boto3, json, sys
from botocore.config import Config
c = boto3.client('logs', endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='test', aws_secret_access_key='test',
                 config=Config(inject_host_prefix=False, retries={'max_attempts': 1}))
G = '/aws/lambda/fn'
assert [g['logGroupName'] for p in c.get_paginator('describe_log_groups').paginate(logGroupNamePrefix='/aws') for g in p['logGroups']] == [G]
s = c.describe_log_streams(logGroupName=G, orderBy='LastEventTime', descending=True)['logStreams'][0]
assert s['logStreamName'] == '2026/11/25/[$LATEST]0123456789abcdef', s
n = [json.loads(e['message'])['n'] for p in c.get_paginator('filter_log_events').paginate(logGroupName=G, limit=7) for e in p['events']]
assert n == list(range(25)), n
n = [json.loads(e['message'])['n'] for e in c.filter_log_events(logGroupName=G, filterPattern='{ $.n >= 20 }')['events']]
assert n == list(range(20, 25)), n
got, token = [], None
while True:
    p = c.get_log_events(logGroupName=G, logStreamName=s['logStreamName'], limit=10, startFromHead=True, **({'nextToken': token} if token else {}))
    got += p['events']
    if p['nextForwardToken'] == token: break
    token = p['nextForwardToken']
assert len(got) == 25, len(got)
try:
    c.get_log_events(logGroupName='none', logStreamName='s')
    assert False
except c.exceptions.ResourceNotFoundException as e:
    assert e.response['Error']['Message'] == 'The specified log group does not exist.', e
c.create_log_group(logGroupName='mine', tags={'a': 'b'})
c.create_log_stream(logGroupName='mine', logStreamName='s')
import time
c.put_log_events(logGroupName='mine', logStreamName='s', logEvents=[{'timestamp': int(time.time()*1000), 'message': 'héllo'}])
assert c.filter_log_events(logGroupName='mine')['events'][0]['message'] == 'héllo'
arn = [g for g in c.describe_log_groups()['logGroups'] if g['logGroupName'] == 'live'][0]['logGroupArn']
seen = 0
for e in c.start_live_tail(logGroupIdentifiers=[arn])['responseStream']:
    if 'sessionUpdate' in e:
        seen += len(e['sessionUpdate']['sessionResults'])
        if seen > 3: break
c.delete_log_group(logGroupName='mine')
print('ok')
`
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "-c", script, server.URL).CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
		t.Errorf("boto3: %v\n%s", err, out)
	}
}
