package lambda

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/awsclient"
	"github.com/hearth-run/hearth/internal/store"
)

// States of event source mappings; the model has no enum of them.
const (
	mappingCreating  = "Creating"
	mappingEnabling  = "Enabling"
	mappingEnabled   = "Enabled"
	mappingDisabling = "Disabling"
	mappingDisabled  = "Disabled"
	mappingUpdating  = "Updating"
	mappingDeleting  = "Deleting"
)

func (s *Service) CreateEventSourceMapping(ctx context.Context, in *api.CreateEventSourceMappingRequest) (*api.EventSourceMappingConfiguration, error) {
	kind, err := sourceKind(in.EventSourceArn, in.SelfManagedEventSource)
	if err != nil {
		return nil, err
	}
	if kind == sourceSelfManaged && in.SourceAccessConfigurations == nil {
		return nil, invalid("Required 'sourceAccessConfigurations' parameter is missing.")
	}
	f, _, err := s.function(ctx, in.FunctionName, nil, "CreateEventSourceMapping")
	if err != nil {
		return nil, err
	}
	if len(in.Tags) > s.quotas.Tags {
		return nil, invalid("Number of tags exceeds resource tag limit.")
	}
	id := uuid.NewString()
	c := api.EventSourceMappingConfiguration{
		UUID: &id, EventSourceMappingArn: awsapi.Ptr(arn.Resource(awsapi.RequestFrom(ctx), arn.KindEventSourceMapping, id)),
		EventSourceArn: in.EventSourceArn, FunctionArn: awsapi.Ptr(f.ARN()),
		SelfManagedEventSource: in.SelfManagedEventSource, StartingPosition: in.StartingPosition, StartingPositionTimestamp: in.StartingPositionTimestamp,
		Topics: in.Topics, Queues: in.Queues,
	}
	if err := applyMapping(kind, &c, mappingOptions{
		in.AmazonManagedKafkaEventSourceConfig, in.BatchSize, in.BisectBatchOnFunctionError, in.DestinationConfig, in.DocumentDBEventSourceConfig, in.FilterCriteria,
		in.FunctionResponseTypes, in.KMSKeyArn, in.LoggingConfig, in.MaximumBatchingWindowInSeconds, in.MaximumRecordAgeInSeconds, in.MaximumRetryAttempts, in.MetricsConfig,
		in.ParallelizationFactor, in.ProvisionedPollerConfig, in.ScalingConfig, in.SelfManagedKafkaEventSourceConfig, in.SourceAccessConfigurations, in.TumblingWindowInSeconds,
	}); err != nil {
		return nil, err
	}
	if err := checkPosition(kind, &c); err != nil {
		return nil, err
	}
	if err := checkRequired(kind, &c); err != nil {
		return nil, err
	}
	kind.defaults(&c)
	c.State, c.StateTransitionReason, c.LastModified = awsapi.Ptr(mappingCreating), awsapi.Ptr(kind.reason), awsapi.Ptr(now())
	m := &store.Mapping{Key: resource(ctx, id), FunctionName: f.Name, Qualifier: f.Qualifier, Enabled: in.Enabled == nil || *in.Enabled, Config: c, Tags: in.Tags}
	if len(in.Tags) == 0 {
		m.Tags = nil
	}
	// What is asked outside is asked before anything is locked.
	if err := s.view(ctx, func(tx *store.Tx) error { return mappedFunction(tx, f) }); err != nil {
		return nil, err
	}
	if err := s.checkSource(ctx, kind, c.EventSourceArn); err != nil {
		return nil, err
	}
	q := store.QualifiedKey{Key: m.Key}
	if err := s.update(ctx, func(tx *store.Tx) error {
		if err := mappedFunction(tx, f); err != nil {
			return err
		}
		if err := checkDuplicate(tx, kind, m); err != nil {
			return err
		}
		return errors.Join(tx.Mappings().Insert(m), tx.Tasks().Put(&store.Task{QualifiedKey: q, Kind: taskMapping}))
	}); err != nil {
		return nil, err
	}
	s.log.Warn("this server polls no event sources: the mapping is kept, and nothing comes of it", "function", f.Name, "source", kind.name, "uuid", id)
	s.begin(store.TaskKey{QualifiedKey: q, Kind: taskMapping})
	return &m.Config, nil
}

// mappedFunction refuses functions, versions and aliases that are not there.
func mappedFunction(tx *store.Tx, f arn.Function) error {
	_, _, err := resolve(tx, f)
	var e *awsapi.Error
	if errors.As(err, &e) && e.Code == "ResourceNotFoundException" {
		return invalid("Function does not exist")
	}
	return err
}

// checkSource asks whether the source is there, where its service is configured.
func (s *Service) checkSource(ctx context.Context, kind *eventSource, source *string) error {
	if s.cfg.Checker == nil || source == nil {
		return nil
	}
	region := awsapi.RequestFrom(ctx).Region
	var err error
	switch kind {
	case sourceSQS, sourceFIFO:
		if err = s.cfg.Checker.Queue(ctx, region, *source); errors.Is(err, awsclient.ErrNotFound) {
			return invalid("Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does not exist.")
		}
	case sourceKinesis, sourceDynamoDB:
		if err = s.cfg.Checker.Stream(ctx, region, *source); errors.Is(err, awsclient.ErrNotFound) {
			return invalid("Stream not found: %s", *source)
		}
	}
	if err != nil {
		s.log.Warn("event source not checked", "source", *source, "err", err)
	}
	return nil
}

// checkDuplicate refuses a second mapping of a source to the same function.
func checkDuplicate(tx *store.Tx, kind *eventSource, m *store.Mapping) error {
	r := store.Range[store.Key]{Within: store.In(m.Scope()), Column: "source", Value: awsapi.Val(m.Config.EventSourceArn)}
	if kind == sourceSelfManaged {
		r.Column, r.Value = "function", m.FunctionName
	}
	others, err := tx.Mappings().List(r)
	if err != nil {
		return err
	}
	for _, o := range others {
		if awsapi.Val(o.Config.FunctionArn) != awsapi.Val(m.Config.FunctionArn) || o.Name == m.Name {
			continue
		}
		switch kind {
		case sourceSQS, sourceFIFO:
			return conflict("An event source mapping with SQS arn (\" %s \") and function (\" %s \") already exists. Please update or delete the existing mapping with UUID %s", *m.Config.EventSourceArn, m.FunctionName, o.Name)
		case sourceSelfManaged:
			if o.Config.SelfManagedEventSource != nil && bootstrap(&o.Config) == bootstrap(&m.Config) && slices.Equal(o.Config.Topics, m.Config.Topics) {
				return conflict("An event source mapping with event source (%q), function (%q), topics (%q) already exists. Please update or delete the existing mapping with UUID %s",
					bootstrap(&m.Config), *m.Config.FunctionArn, first(m.Config.Topics), o.Name)
			}
		case sourceKafka, sourceMQ:
			if slices.Equal(o.Config.Topics, m.Config.Topics) && slices.Equal(o.Config.Queues, m.Config.Queues) {
				return conflict("The event source arn (\" %s \") and function (\" %s \") provided mapping already exists. Please update or delete the existing mapping with UUID %s", *m.Config.EventSourceArn, m.FunctionName, o.Name)
			}
		default:
			return conflict("The event source arn (\" %s \") and function (\" %s \") provided mapping already exists. Please update or delete the existing mapping with UUID %s", *m.Config.EventSourceArn, m.FunctionName, o.Name)
		}
	}
	return nil
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// settleMapping takes a mapping from what it is becoming to what it is to be.
func (s *Service) settleMapping(ctx context.Context, k store.TaskKey) error {
	return s.cfg.Store.UpdateLazily(ctx, func(tx *store.Tx) error {
		m, err := tx.Mappings().Get(k.Key)
		if wanted, err := finish(tx, k, err); !wanted {
			return err
		}
		if awsapi.Val(m.Config.State) == mappingDeleting {
			return tx.Mappings().Delete(k.Key)
		}
		m.Config.State = awsapi.Ptr(mappingDisabled)
		if m.Enabled {
			m.Config.State = awsapi.Ptr(mappingEnabled)
		}
		return tx.Mappings().Put(m)
	})
}

func (s *Service) GetEventSourceMapping(ctx context.Context, in *api.GetEventSourceMappingRequest) (*api.EventSourceMappingConfiguration, error) {
	var m *store.Mapping
	if err := s.view(ctx, func(tx *store.Tx) (err error) {
		m, err = tx.Mappings().Get(resource(ctx, *in.UUID))
		return or(err, noSuchThing())
	}); err != nil {
		return nil, err
	}
	return &m.Config, nil
}

func (s *Service) UpdateEventSourceMapping(ctx context.Context, in *api.UpdateEventSourceMappingRequest) (*api.EventSourceMappingConfiguration, error) {
	k := resource(ctx, *in.UUID)
	q := store.QualifiedKey{Key: k}
	var m *store.Mapping
	if err := s.update(ctx, func(tx *store.Tx) (err error) {
		if m, err = tx.Mappings().Get(k); err != nil {
			return or(err, noSuchThing())
		}
		if err := checkSettled(m); err != nil {
			return err
		}
		kind, err := sourceKind(m.Config.EventSourceArn, m.Config.SelfManagedEventSource)
		if err != nil {
			return err
		}
		if in.FunctionName != nil {
			f, _, err := s.function(ctx, in.FunctionName, nil, "UpdateEventSourceMapping")
			if err != nil {
				return err
			}
			if err := mappedFunction(tx, f); err != nil {
				return err
			}
			m.FunctionName, m.Qualifier, m.Config.FunctionArn = f.Name, f.Qualifier, awsapi.Ptr(f.ARN())
			if err := checkDuplicate(tx, kind, m); err != nil {
				return err
			}
		}
		if err := applyMapping(kind, &m.Config, mappingOptions{
			in.AmazonManagedKafkaEventSourceConfig, in.BatchSize, in.BisectBatchOnFunctionError, in.DestinationConfig, in.DocumentDBEventSourceConfig, in.FilterCriteria,
			in.FunctionResponseTypes, in.KMSKeyArn, in.LoggingConfig, in.MaximumBatchingWindowInSeconds, in.MaximumRecordAgeInSeconds, in.MaximumRetryAttempts, in.MetricsConfig,
			in.ParallelizationFactor, in.ProvisionedPollerConfig, in.ScalingConfig, in.SelfManagedKafkaEventSourceConfig, in.SourceAccessConfigurations, in.TumblingWindowInSeconds,
		}); err != nil {
			return err
		}
		state := mappingUpdating
		if in.Enabled != nil && *in.Enabled != m.Enabled {
			m.Enabled = *in.Enabled
			state = mappingDisabling
			if m.Enabled {
				state = mappingEnabling
			}
		}
		m.Config.State, m.Config.StateTransitionReason, m.Config.LastModified = &state, awsapi.Ptr(kind.reason), awsapi.Ptr(now())
		return errors.Join(tx.Mappings().Put(m), tx.Tasks().Put(&store.Task{QualifiedKey: q, Kind: taskMapping}))
	}); err != nil {
		return nil, err
	}
	s.begin(store.TaskKey{QualifiedKey: q, Kind: taskMapping})
	return &m.Config, nil
}

// checkSettled refuses changes of a mapping that is being changed.
func checkSettled(m *store.Mapping) error {
	switch awsapi.Val(m.Config.State) {
	case mappingEnabled, mappingDisabled:
		return nil
	}
	return api.ResourceInUseException("Cannot update the event source mapping because it is in use.")
}

func (s *Service) DeleteEventSourceMapping(ctx context.Context, in *api.DeleteEventSourceMappingRequest) (*api.EventSourceMappingConfiguration, error) {
	k := resource(ctx, *in.UUID)
	q := store.QualifiedKey{Key: k}
	var m *store.Mapping
	if err := s.update(ctx, func(tx *store.Tx) (err error) {
		if m, err = tx.Mappings().Get(k); err != nil {
			return or(err, noSuchThing())
		}
		if awsapi.Val(m.Config.State) == mappingDeleting {
			return checkSettled(m)
		}
		m.Config.State = awsapi.Ptr(mappingDeleting)
		return errors.Join(tx.Mappings().Put(m), tx.Tasks().Put(&store.Task{QualifiedKey: q, Kind: taskMapping}))
	}); err != nil {
		return nil, err
	}
	s.begin(store.TaskKey{QualifiedKey: q, Kind: taskMapping})
	return &m.Config, nil
}

func (s *Service) ListEventSourceMappings(ctx context.Context, in *api.ListEventSourceMappingsRequest) (*api.ListEventSourceMappingsResponse, error) {
	var after *store.Key
	n, err := page(in.MaxItems, 100, in.Marker, &after)
	if err != nil {
		return nil, err
	}
	if after != nil {
		*after = resource(ctx, after.Name)
	}
	r := store.Range[store.Key]{Within: store.In(scope(ctx)), After: after, Limit: n + 1}
	var of *arn.Function
	if in.FunctionName != nil {
		f, _, err := s.function(ctx, in.FunctionName, nil, "ListEventSourceMappings")
		if err != nil {
			return nil, err
		}
		of, r.Column, r.Value, r.Limit = &f, "function", f.Name, 0
	}
	if in.EventSourceArn != nil {
		r.Column, r.Value = "source", *in.EventSourceArn
	}
	out := &api.ListEventSourceMappingsResponse{EventSourceMappings: []api.EventSourceMappingConfiguration{}}
	if err := s.view(ctx, func(tx *store.Tx) error {
		ms, err := tx.Mappings().List(r)
		for _, m := range ms {
			if of == nil || m.FunctionName == of.Name && (of.Qualifier == "" || m.Qualifier == of.Qualifier) {
				out.EventSourceMappings = append(out.EventSourceMappings, m.Config)
			}
		}
		return err
	}); err != nil {
		return nil, err
	}
	var more bool
	if out.EventSourceMappings, more = cut(out.EventSourceMappings, n); more {
		out.NextMarker = nextMarker(true, store.Key{Name: *out.EventSourceMappings[n-1].UUID})
	}
	return out, nil
}
