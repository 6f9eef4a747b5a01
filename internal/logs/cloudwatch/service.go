// Package cloudwatch answers the CloudWatch Logs API out of a logs.Store, as far
// as clients need it to read functions' logs and to write their own.
package cloudwatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/logs"
	"github.com/hearth-run/hearth/internal/logs"
)

// Service answers the API. Its methods may be called concurrently.
type Service struct {
	api.Unimplemented
	store *logs.Store
}

var _ api.Service = (*Service)(nil)

// New returns the service over store.
func New(store *logs.Store) *Service { return &Service{store: store} }

const (
	noGroup      = "The specified log group does not exist."
	noStream     = "The specified log stream does not exist."
	badToken     = "The specified nextToken is invalid."
	defaultPage  = 50
	maxPage      = 10_000
	maxBatchSize = 1_048_576
	perEvent     = 26 // bytes that each event counts beside its message
)

// fail turns the store's errors into AWS's.
func fail(err error) error {
	var known *awsapi.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, logs.ErrNoGroup):
		return api.ResourceNotFoundException(noGroup)
	case errors.Is(err, logs.ErrNoStream):
		return api.ResourceNotFoundException(noStream)
	case errors.Is(err, logs.ErrGroupExists):
		return api.ResourceAlreadyExistsException("The specified log group already exists")
	case errors.Is(err, logs.ErrStreamExists):
		return api.ResourceAlreadyExistsException("The specified log stream already exists")
	case errors.Is(err, logs.ErrBadToken):
		return api.InvalidParameterException(badToken)
	case errors.Is(err, logs.ErrBadPattern):
		return api.InvalidParameterException("Invalid filter pattern")
	}
	e := api.ServiceUnavailableException("The service cannot complete the request.")
	e.Cause = err
	return e
}

func scope(ctx context.Context) logs.Scope {
	r := awsapi.RequestFrom(ctx)
	return logs.Scope{Account: r.AccountID, Region: r.Region}
}

// groupARN is the ARN of a log group, without the ":*" that some members end in.
func groupARN(ctx context.Context, group string) string {
	r := awsapi.RequestFrom(ctx)
	return "arn:" + r.Partition + ":logs:" + r.Region + ":" + r.AccountID + ":log-group:" + group
}

// groupOf returns the group that is given by its name or by an identifier, a
// name or an ARN.
func groupOf(name, identifier *string) (string, error) {
	switch {
	case name != nil && identifier != nil:
		return "", api.InvalidParameterException("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
	case name != nil:
		return *name, nil
	case identifier != nil:
		return fromARN(*identifier)
	}
	return "", api.InvalidParameterException("Either LogGroup name or LogGroup ARN must be specified.")
}

// fromARN returns the name in a log group's ARN; what is no ARN is a name.
func fromARN(s string) (string, error) {
	if !strings.HasPrefix(s, "arn:") {
		return s, nil
	}
	part := strings.SplitN(s, ":", 7)
	if len(part) < 7 || part[2] != "logs" || part[5] != "log-group" || part[6] == "" {
		return "", api.InvalidParameterException("The specified ARN is invalid: " + s)
	}
	return strings.TrimSuffix(part[6], ":*"), nil
}

func (s *Service) CreateLogGroup(ctx context.Context, in *api.CreateLogGroupRequest) error {
	return fail(s.store.CreateGroup(scope(ctx), *in.LogGroupName, logs.GroupOptions{
		Class:     awsapi.Val(in.LogGroupClass),
		KMSKey:    awsapi.Val(in.KmsKeyId),
		Protected: awsapi.Val(in.DeletionProtectionEnabled),
		Tags:      in.Tags,
	}))
}

func (s *Service) DeleteLogGroup(ctx context.Context, in *api.DeleteLogGroupRequest) error {
	g, err := s.store.Group(scope(ctx), *in.LogGroupName)
	if err == nil && g.Protected {
		return api.ValidationException("Log group deletion protection is enabled. Disable it before deleting the log group.")
	}
	if err == nil {
		err = s.store.DeleteGroup(scope(ctx), *in.LogGroupName)
	}
	return fail(err)
}

func (s *Service) CreateLogStream(ctx context.Context, in *api.CreateLogStreamRequest) error {
	return fail(s.store.CreateStream(scope(ctx), *in.LogGroupName, *in.LogStreamName))
}

func (s *Service) DeleteLogStream(ctx context.Context, in *api.DeleteLogStreamRequest) error {
	return fail(s.store.DeleteStream(scope(ctx), *in.LogGroupName, *in.LogStreamName))
}

// retentions are the days that AWS takes.
var retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func (s *Service) PutRetentionPolicy(ctx context.Context, in *api.PutRetentionPolicyRequest) error {
	if !slices.Contains(retentions, *in.RetentionInDays) {
		return api.InvalidParameterException(fmt.Sprintf("1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: %v",
			*in.RetentionInDays, strings.ReplaceAll(fmt.Sprint(retentions), " ", ", ")))
	}
	return fail(s.store.SetRetention(scope(ctx), *in.LogGroupName, int(*in.RetentionInDays)))
}

func (s *Service) DeleteRetentionPolicy(ctx context.Context, in *api.DeleteRetentionPolicyRequest) error {
	return fail(s.store.SetRetention(scope(ctx), *in.LogGroupName, 0))
}

func (s *Service) TagLogGroup(ctx context.Context, in *api.TagLogGroupRequest) error {
	return fail(s.store.Tag(scope(ctx), *in.LogGroupName, in.Tags))
}

func (s *Service) UntagLogGroup(ctx context.Context, in *api.UntagLogGroupRequest) error {
	return fail(s.store.Untag(scope(ctx), *in.LogGroupName, in.Tags))
}

func (s *Service) ListTagsLogGroup(ctx context.Context, in *api.ListTagsLogGroupRequest) (*api.ListTagsLogGroupResponse, error) {
	tags, err := s.store.Tags(scope(ctx), *in.LogGroupName)
	if err != nil {
		return nil, fail(err)
	}
	return &api.ListTagsLogGroupResponse{Tags: tags}, nil
}

func (s *Service) TagResource(ctx context.Context, in *api.TagResourceRequest) error {
	group, err := fromARN(*in.ResourceArn)
	if err == nil {
		err = s.store.Tag(scope(ctx), group, in.Tags)
	}
	return fail(err)
}

func (s *Service) UntagResource(ctx context.Context, in *api.UntagResourceRequest) error {
	group, err := fromARN(*in.ResourceArn)
	if err == nil {
		err = s.store.Untag(scope(ctx), group, in.TagKeys)
	}
	return fail(err)
}

func (s *Service) ListTagsForResource(ctx context.Context, in *api.ListTagsForResourceRequest) (*api.ListTagsForResourceResponse, error) {
	group, err := fromARN(*in.ResourceArn)
	if err != nil {
		return nil, err
	}
	tags, err := s.store.Tags(scope(ctx), group)
	if err != nil {
		return nil, fail(err)
	}
	return &api.ListTagsForResourceResponse{Tags: tags}, nil
}

func limit(n *int32, most int) int {
	if n == nil || *n <= 0 {
		return most
	}
	return min(int(*n), most)
}

func ms(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return awsapi.Ptr(t.UnixMilli())
}

func (s *Service) DescribeLogGroups(ctx context.Context, in *api.DescribeLogGroupsRequest) (*api.DescribeLogGroupsResponse, error) {
	if in.LogGroupNamePrefix != nil && in.LogGroupNamePattern != nil {
		return nil, api.InvalidParameterException("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	var names []string
	for _, id := range in.LogGroupIdentifiers {
		name, err := fromARN(id)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	match := func(name string) bool {
		return strings.HasPrefix(name, awsapi.Val(in.LogGroupNamePrefix)) &&
			// A pattern is found anywhere, in any case.
			strings.Contains(strings.ToLower(name), strings.ToLower(awsapi.Val(in.LogGroupNamePattern))) &&
			(names == nil || slices.Contains(names, name))
	}
	groups, more, err := s.store.Groups(scope(ctx), match, awsapi.Val(in.NextToken), limit(in.Limit, defaultPage))
	if err != nil {
		return nil, fail(err)
	}
	out := &api.DescribeLogGroupsResponse{LogGroups: []api.LogGroup{}}
	for _, g := range groups {
		if in.LogGroupClass != nil && *in.LogGroupClass != g.Class {
			continue
		}
		d := api.LogGroup{
			LogGroupName:              &g.Name,
			CreationTime:              ms(g.Created),
			MetricFilterCount:         awsapi.Ptr(int32(0)),
			Arn:                       awsapi.Ptr(groupARN(ctx, g.Name) + ":*"),
			LogGroupArn:               awsapi.Ptr(groupARN(ctx, g.Name)),
			StoredBytes:               &g.StoredBytes,
			LogGroupClass:             &g.Class,
			DeletionProtectionEnabled: &g.Protected,
		}
		if g.RetentionDays > 0 {
			d.RetentionInDays = awsapi.Ptr(int32(g.RetentionDays))
		}
		if g.KMSKey != "" {
			d.KmsKeyId = &g.KMSKey
		}
		out.LogGroups = append(out.LogGroups, d)
	}
	if more {
		out.NextToken = &groups[len(groups)-1].Name
	}
	return out, nil
}

func (s *Service) DescribeLogStreams(ctx context.Context, in *api.DescribeLogStreamsRequest) (*api.DescribeLogStreamsResponse, error) {
	group, err := groupOf(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	byTime := awsapi.Val(in.OrderBy) == api.OrderByLastEventTime
	prefix := awsapi.Val(in.LogStreamNamePrefix)
	if byTime && prefix != "" {
		return nil, api.InvalidParameterException("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	streams, err := s.store.Streams(scope(ctx), group, func(name string) bool { return strings.HasPrefix(name, prefix) }, byTime)
	if err != nil {
		return nil, fail(err)
	}
	if awsapi.Val(in.Descending) {
		slices.Reverse(streams)
	}
	if after := awsapi.Val(in.NextToken); after != "" {
		// The last stream of the page before; its place is what counts.
		name, ok := strings.CutPrefix(after, group+"@")
		i := slices.IndexFunc(streams, func(d logs.Stream) bool { return d.Name == name })
		if !ok || i < 0 {
			return nil, api.InvalidParameterException(badToken)
		}
		streams = streams[i+1:]
	}
	out := &api.DescribeLogStreamsResponse{LogStreams: []api.LogStream{}}
	n := limit(in.Limit, defaultPage)
	for i, d := range streams {
		if i == n {
			out.NextToken = awsapi.Ptr(group + "@" + streams[i-1].Name)
			break
		}
		out.LogStreams = append(out.LogStreams, api.LogStream{
			LogStreamName:       &d.Name,
			CreationTime:        ms(d.Created),
			FirstEventTimestamp: ms(d.FirstEvent),
			LastEventTimestamp:  ms(d.LastEvent),
			LastIngestionTime:   ms(d.LastIngested),
			Arn:                 awsapi.Ptr(groupARN(ctx, group) + ":log-stream:" + d.Name),
			StoredBytes:         awsapi.Ptr(int64(0)), // as AWS says of all streams since 2019
		})
	}
	return out, nil
}
