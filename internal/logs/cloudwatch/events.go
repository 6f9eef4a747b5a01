package cloudwatch

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/logs"
	"github.com/hearth-run/hearth/internal/logs"
)

// fromMS returns the time of a member in milliseconds; none is the zero time.
func fromMS(p *int64) time.Time {
	if p == nil {
		return time.Time{}
	}
	return time.UnixMilli(*p)
}

func text(message []byte) *string { return awsapi.Ptr(strings.ToValidUTF8(string(message), "\uFFFD")) }

func (s *Service) GetLogEvents(ctx context.Context, in *api.GetLogEventsRequest) (*api.GetLogEventsResponse, error) {
	group, err := groupOf(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	p, err := s.store.Read(ctx, scope(ctx), group, *in.LogStreamName, logs.Query{
		Start: fromMS(in.StartTime),
		End:   fromMS(in.EndTime),
		Limit: limit(in.Limit, maxPage),
	}, awsapi.Val(in.NextToken), awsapi.Val(in.StartFromHead))
	if err != nil {
		return nil, fail(err)
	}
	out := &api.GetLogEventsResponse{Events: []api.OutputLogEvent{}, NextForwardToken: &p.Forward, NextBackwardToken: &p.Backward}
	for _, e := range p.Events {
		out.Events = append(out.Events, api.OutputLogEvent{Timestamp: ms(e.Time), IngestionTime: ms(e.Ingested), Message: text(e.Message)})
	}
	return out, nil
}

func (s *Service) FilterLogEvents(ctx context.Context, in *api.FilterLogEventsRequest) (*api.FilterLogEventsResponse, error) {
	group, err := groupOf(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	if len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != nil {
		return nil, api.InvalidParameterException("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
	}
	q := logs.Query{
		Streams:      in.LogStreamNames,
		StreamPrefix: awsapi.Val(in.LogStreamNamePrefix),
		Start:        fromMS(in.StartTime),
		After:        awsapi.Val(in.NextToken),
		Limit:        limit(in.Limit, maxPage),
	}
	if in.EndTime != nil {
		q.End = time.UnixMilli(*in.EndTime + 1) // up to and with it, other than in GetLogEvents
	}
	if q.Pattern, err = logs.ParsePattern(awsapi.Val(in.FilterPattern)); err != nil {
		return nil, fail(err)
	}
	events, next, err := s.store.Filter(ctx, scope(ctx), group, q)
	if err != nil {
		return nil, fail(err)
	}
	out := &api.FilterLogEventsResponse{Events: []api.FilteredLogEvent{}, SearchedLogStreams: []api.SearchedLogStream{}}
	for _, e := range events {
		out.Events = append(out.Events, api.FilteredLogEvent{LogStreamName: &e.Stream, Timestamp: ms(e.Time), IngestionTime: ms(e.Ingested), Message: text(e.Message), EventId: &e.ID})
	}
	if next != "" {
		out.NextToken = &next
	}
	return out, nil
}

const (
	tooNew  = 2 * time.Hour
	tooOld  = 14 * 24 * time.Hour
	maxSpan = 24 * time.Hour
)

func (s *Service) PutLogEvents(ctx context.Context, in *api.PutLogEventsRequest) (*api.PutLogEventsResponse, error) {
	g, err := s.store.Group(scope(ctx), *in.LogGroupName)
	if err != nil {
		return nil, fail(err)
	}
	size := 0
	for i, e := range in.LogEvents {
		size += len(*e.Message) + perEvent
		if i > 0 && *e.Timestamp < *in.LogEvents[i-1].Timestamp {
			return nil, api.InvalidParameterException("Log events in a single PutLogEvents request must be in chronological order.")
		}
	}
	if size > maxBatchSize {
		return nil, api.InvalidParameterException(fmt.Sprintf("Upload too large: %d bytes exceeds limit of %d", size, maxBatchSize))
	}
	if n := len(in.LogEvents); n > 0 && *in.LogEvents[n-1].Timestamp-*in.LogEvents[0].Timestamp > maxSpan.Milliseconds() {
		return nil, api.InvalidParameterException("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	now := time.Now()
	out := &api.PutLogEventsResponse{NextSequenceToken: awsapi.Ptr(fmt.Sprintf("%056d", now.UnixNano()))}
	var events []logs.Event
	rejected := &api.RejectedLogEventsInfo{}
	for i, e := range in.LogEvents {
		at := time.UnixMilli(*e.Timestamp)
		switch {
		case at.After(now.Add(tooNew)):
			if rejected.TooNewLogEventStartIndex == nil {
				rejected.TooNewLogEventStartIndex = awsapi.Ptr(int32(i))
			}
		case at.Before(now.Add(-tooOld)):
			rejected.TooOldLogEventEndIndex = awsapi.Ptr(int32(i + 1))
		case g.RetentionDays > 0 && at.Before(now.AddDate(0, 0, -g.RetentionDays)):
			rejected.ExpiredLogEventEndIndex = awsapi.Ptr(int32(i + 1))
		default:
			events = append(events, logs.Event{Time: at, Message: []byte(*e.Message)})
		}
	}
	if *rejected != (api.RejectedLogEventsInfo{}) {
		out.RejectedLogEventsInfo = rejected
	}
	if err := s.store.Put(scope(ctx), *in.LogGroupName, *in.LogStreamName, events); err != nil {
		return nil, fail(err)
	}
	return out, nil
}

const (
	liveTailEvery  = time.Second
	liveTailEvents = 500 // in one update; of more, a sample
	liveTailLasts  = 3 * time.Hour
)

// StartLiveTail sends what comes into the groups, in an update each second.
func (s *Service) StartLiveTail(ctx context.Context, in *api.StartLiveTailRequest, out api.StartLiveTailStream) error {
	pattern, err := logs.ParsePattern(awsapi.Val(in.LogEventFilterPattern))
	if err != nil {
		return fail(err)
	}
	if len(in.LogStreamNames) > 0 && len(in.LogStreamNamePrefixes) > 0 {
		return api.InvalidParameterException("logStreamNames and logStreamNamePrefixes are mutually exclusive parameters.")
	}
	if len(in.LogStreamNames)+len(in.LogStreamNamePrefixes) > 0 && len(in.LogGroupIdentifiers) > 1 {
		return api.InvalidParameterException("Log streams can be named for a single log group only.")
	}
	type followed struct{ name, arn string }
	var groups []followed
	for _, id := range in.LogGroupIdentifiers {
		name, err := fromARN(id)
		if err == nil {
			_, err = s.store.Group(scope(ctx), name)
		}
		if err != nil {
			return fail(err)
		}
		groups = append(groups, followed{name, groupARN(ctx, name)})
	}
	began := time.Now()
	session := &api.LiveTailSessionStart{
		RequestId:             &awsapi.RequestFrom(ctx).ID,
		SessionId:             awsapi.Ptr(rand.Text()),
		LogGroupIdentifiers:   in.LogGroupIdentifiers,
		LogStreamNames:        in.LogStreamNames,
		LogStreamNamePrefixes: in.LogStreamNamePrefixes,
		LogEventFilterPattern: awsapi.Ptr(awsapi.Val(in.LogEventFilterPattern)),
	}
	if err := out.SessionStart(session); err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	var mu sync.Mutex // guards what follows
	var results []api.LiveTailSessionLogEvent
	var sampled bool
	var failed error
	sc := scope(ctx)
	for _, g := range groups {
		tasks.Go(func() {
			q := logs.Query{Streams: in.LogStreamNames, Start: began, Pattern: pattern}
			for e, err := range s.store.Follow(ctx, sc, g.name, q) {
				mu.Lock()
				switch {
				case err != nil:
					failed = err
				case !startsWithAny(e.Stream, in.LogStreamNamePrefixes):
				case len(results) >= liveTailEvents:
					sampled = true
				default:
					results = append(results, api.LiveTailSessionLogEvent{LogStreamName: &e.Stream, LogGroupIdentifier: &g.arn, Message: text(e.Message), Timestamp: ms(e.Time), IngestionTime: ms(e.Ingested)})
				}
				mu.Unlock()
			}
		})
	}
	tick := time.NewTicker(liveTailEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		mu.Lock()
		update := &api.LiveTailSessionUpdate{SessionMetadata: &api.LiveTailSessionMetadata{Sampled: &sampled}, SessionResults: results}
		if update.SessionResults == nil {
			update.SessionResults = []api.LiveTailSessionLogEvent{}
		}
		update.SessionMetadata.Sampled = awsapi.Ptr(sampled)
		results, sampled = nil, false
		err := failed
		mu.Unlock()
		if err != nil {
			return fail(err)
		}
		if err := out.SessionUpdate(update); err != nil {
			return err
		}
		if time.Since(began) > liveTailLasts {
			return api.SessionTimeoutException("The session has timed out.")
		}
	}
}

func startsWithAny(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return len(prefixes) == 0
}
