package lambda

import (
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
)

// eventSource is a kind of event sources: which options a mapping of it takes,
// and what they are when they are not given.
type eventSource struct {
	name     string
	reason   string   // StateTransitionReason of what a user did
	options  []string // that it takes, beside those that all take
	batch    int32    // BatchSize by default
	maxBatch int32
	// largeBatch is the BatchSize above which a batching window must be set; 0: none.
	largeBatch int32
	positions  []string // StartingPosition: those it takes; nil: none
	position   string   // the default; "": it must be given
	stream     bool     // records in order, with retries of their own
}

const (
	optBisect       = "BisectBatchOnFunctionError"
	optDestination  = "DestinationConfig"
	optResponse     = "FunctionResponseTypes"
	optRecordAge    = "MaximumRecordAgeInSeconds"
	optRetries      = "MaximumRetryAttempts"
	optParallel     = "ParallelizationFactor"
	optPollers      = "ProvisionedPollerConfig"
	optScaling      = "ScalingConfig"
	optAccess       = "SourceAccessConfigurations"
	optTumbling     = "TumblingWindowInSeconds"
	optManagedKafka = "AmazonManagedKafkaEventSourceConfig"
	optOwnKafka     = "SelfManagedKafkaEventSourceConfig"
	optDocumentDB   = "DocumentDBEventSourceConfig"
)

var (
	sourceSQS  = &eventSource{name: "SQS", reason: "USER_INITIATED", options: []string{optResponse, optScaling, optPollers}, batch: 10, maxBatch: 10_000, largeBatch: 10}
	sourceFIFO = &eventSource{name: "SQS FIFO", reason: "USER_INITIATED", options: []string{optResponse, optScaling}, batch: 10, maxBatch: 10}

	streamOptions = []string{optBisect, optDestination, optResponse, optRecordAge, optRetries, optParallel, optTumbling}
	sourceKinesis = &eventSource{name: "Kinesis", reason: "User action", options: streamOptions, batch: 100, maxBatch: 10_000, stream: true,
		positions: []string{"TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"}}
	sourceDynamoDB = &eventSource{name: "DynamoDB", reason: "User action", options: streamOptions, batch: 100, maxBatch: 10_000, stream: true,
		positions: []string{"TRIM_HORIZON", "LATEST"}}

	kafkaOptions = []string{optDestination, optAccess, optPollers, optBisect, optRecordAge, optRetries, optResponse}
	sourceKafka  = &eventSource{name: "MSK", reason: "USER_INITIATED", options: append([]string{optManagedKafka}, kafkaOptions...), batch: 100, maxBatch: 10_000,
		positions: []string{"TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"}, position: "TRIM_HORIZON"}
	sourceSelfManaged = &eventSource{name: "self-managed Kafka", reason: "USER_INITIATED", options: append([]string{optOwnKafka}, kafkaOptions...), batch: 100, maxBatch: 10_000,
		positions: []string{"TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"}, position: "TRIM_HORIZON"}
	sourceMQ         = &eventSource{name: "Amazon MQ", reason: "USER_INITIATED", options: []string{optAccess}, batch: 100, maxBatch: 10_000}
	sourceDocumentDB = &eventSource{name: "DocumentDB", reason: "USER_INITIATED", options: []string{optAccess, optDocumentDB}, batch: 100, maxBatch: 10_000,
		positions: []string{"TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"}, position: "LATEST"}
)

// sourceKind says what kind of event source a mapping is of.
func sourceKind(source *string, own *api.SelfManagedEventSource) (*eventSource, error) {
	if own != nil {
		if source != nil {
			return nil, invalid("EventSourceArn and SelfManagedEventSource cannot both be given.")
		}
		return sourceSelfManaged, nil
	}
	a, ok := arn.Parse(awsapi.Val(source))
	if !ok {
		return nil, invalid("Unrecognized event source.")
	}
	switch {
	case a.Service == "sqs" && strings.HasSuffix(a.Resource, ".fifo"):
		return sourceFIFO, nil
	case a.Service == "sqs":
		return sourceSQS, nil
	case a.Service == "kinesis" && strings.HasPrefix(a.Resource, "stream/"):
		return sourceKinesis, nil
	case a.Service == "dynamodb" && strings.Contains(a.Resource, "/stream/"):
		return sourceDynamoDB, nil
	case a.Service == "kafka" && strings.HasPrefix(a.Resource, "cluster/"):
		return sourceKafka, nil
	case a.Service == "mq" && strings.HasPrefix(a.Resource, "broker:"):
		return sourceMQ, nil
	case a.Service == "rds" && strings.HasPrefix(a.Resource, "cluster:"):
		return sourceDocumentDB, nil
	}
	return nil, invalid("Unrecognized event source.")
}

// mappingOptions are what creation and update of a mapping both take.
type mappingOptions struct {
	managedKafka *api.AmazonManagedKafkaEventSourceConfig
	batchSize    *int32
	bisect       *bool
	destination  *api.DestinationConfig
	documentDB   *api.DocumentDBEventSourceConfig
	filter       *api.FilterCriteria
	response     []string
	kms          *string
	logging      *api.EventSourceMappingLoggingConfig
	window       *int32
	recordAge    *int32
	retries      *int32
	metrics      *api.EventSourceMappingMetricsConfig
	parallel     *int32
	pollers      *api.ProvisionedPollerConfig
	scaling      *api.ScalingConfig
	ownKafka     *api.SelfManagedKafkaEventSourceConfig
	access       []api.SourceAccessConfiguration
	tumbling     *int32
}

// replace writes from to *to if it is given.
func replace[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

// applyMapping writes the options into c, and refuses those that its kind of source does not take.
func applyMapping(kind *eventSource, c *api.EventSourceMappingConfiguration, in mappingOptions) error {
	given := []struct {
		option string
		given  bool
	}{
		{optDestination, in.destination != nil && (in.destination.OnFailure != nil && in.destination.OnFailure.Destination != nil || in.destination.OnSuccess != nil)},
		{optBisect, in.bisect != nil}, {optResponse, len(in.response) > 0}, {optRecordAge, in.recordAge != nil},
		{optRetries, in.retries != nil}, {optParallel, in.parallel != nil}, {optPollers, in.pollers != nil}, {optScaling, in.scaling != nil},
		{optAccess, len(in.access) > 0}, {optTumbling, in.tumbling != nil && *in.tumbling != 0}, {optManagedKafka, in.managedKafka != nil},
		{optOwnKafka, in.ownKafka != nil}, {optDocumentDB, in.documentDB != nil},
	}
	for _, g := range given {
		if g.given && !slices.Contains(kind.options, g.option) {
			return invalid("Unsupported %s parameter for given event source mapping type.", g.option)
		}
	}
	if in.destination != nil && in.destination.OnSuccess != nil {
		return invalid("Unsupported DestinationConfig parameter for given event source mapping type.")
	}
	if in.filter != nil {
		for _, f := range in.filter.Filters {
			if !validPattern(awsapi.Val(f.Pattern)) {
				return invalid("Invalid filter pattern definition.")
			}
		}
		if len(in.filter.Filters) > 10 {
			return invalid("The maximum number of filters of an event source mapping is 10.")
		}
	}
	if old, fresh := c.DocumentDBEventSourceConfig, in.documentDB; old != nil && fresh != nil {
		in.documentDB = &api.DocumentDBEventSourceConfig{CollectionName: old.CollectionName, DatabaseName: old.DatabaseName, FullDocument: old.FullDocument}
		replace(&in.documentDB.CollectionName, fresh.CollectionName)
		replace(&in.documentDB.DatabaseName, fresh.DatabaseName)
		replace(&in.documentDB.FullDocument, fresh.FullDocument)
	}
	if old, fresh := c.AmazonManagedKafkaEventSourceConfig, in.managedKafka; old != nil && fresh != nil && fresh.ConsumerGroupId == nil {
		in.managedKafka = &api.AmazonManagedKafkaEventSourceConfig{ConsumerGroupId: old.ConsumerGroupId, SchemaRegistryConfig: fresh.SchemaRegistryConfig}
	}
	replace(&c.BatchSize, in.batchSize)
	replace(&c.MaximumBatchingWindowInSeconds, in.window)
	replace(&c.BisectBatchOnFunctionError, in.bisect)
	replace(&c.MaximumRecordAgeInSeconds, in.recordAge)
	replace(&c.MaximumRetryAttempts, in.retries)
	replace(&c.ParallelizationFactor, in.parallel)
	replace(&c.TumblingWindowInSeconds, in.tumbling)
	replace(&c.DestinationConfig, in.destination)
	replace(&c.KMSKeyArn, in.kms)
	replace(&c.LoggingConfig, in.logging)
	replace(&c.MetricsConfig, in.metrics)
	replace(&c.AmazonManagedKafkaEventSourceConfig, in.managedKafka)
	replace(&c.SelfManagedKafkaEventSourceConfig, in.ownKafka)
	replace(&c.DocumentDBEventSourceConfig, in.documentDB)
	if in.response != nil {
		c.FunctionResponseTypes = in.response
	}
	if in.access != nil {
		c.SourceAccessConfigurations = in.access
	}
	if in.filter != nil {
		c.FilterCriteria = in.filter
		if len(in.filter.Filters) == 0 {
			c.FilterCriteria = nil // an empty one removes the filters
		}
	}
	if in.scaling != nil {
		c.ScalingConfig = in.scaling
		if in.scaling.MaximumConcurrency == nil {
			c.ScalingConfig = nil
		}
	}
	if in.pollers != nil {
		c.ProvisionedPollerConfig = in.pollers
		if in.pollers.MinimumPollers == nil && in.pollers.MaximumPollers == nil && in.pollers.PollerGroupName == nil {
			c.ProvisionedPollerConfig = nil
		}
	}
	return checkMapping(kind, c)
}

// checkMapping refuses values that do not go together.
func checkMapping(kind *eventSource, c *api.EventSourceMappingConfiguration) error {
	if c.BatchSize != nil && *c.BatchSize > kind.maxBatch {
		return invalid("BatchSize must not be greater than %d for %s event sources.", kind.maxBatch, kind.name)
	}
	if kind.largeBatch > 0 && c.BatchSize != nil && *c.BatchSize > kind.largeBatch && awsapi.Val(c.MaximumBatchingWindowInSeconds) == 0 {
		return invalid("Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than %d", kind.largeBatch)
	}
	if kind == sourceFIFO && awsapi.Val(c.MaximumBatchingWindowInSeconds) > 0 {
		return invalid("Batching window is not supported for FIFO queues")
	}
	if c.MaximumRecordAgeInSeconds != nil && *c.MaximumRecordAgeInSeconds >= 0 && *c.MaximumRecordAgeInSeconds < 60 {
		return invalid("MaximumRecordAgeInSeconds must be -1, or between 60 and 604800.")
	}
	if awsapi.Val(c.TumblingWindowInSeconds) > 0 && awsapi.Val(c.ParallelizationFactor) > 1 {
		return invalid("TumblingWindowInSeconds is not supported with a ParallelizationFactor greater than 1.")
	}
	if p := c.ProvisionedPollerConfig; p != nil {
		if c.ScalingConfig != nil {
			return invalid("ScalingConfig and ProvisionedPollerConfig cannot both be given.")
		}
		if p.MinimumPollers != nil && p.MaximumPollers != nil && *p.MinimumPollers > *p.MaximumPollers {
			return invalid("MinimumPollers must not be greater than MaximumPollers.")
		}
	}
	return nil
}

// checkPosition refuses starting positions that the source does not have.
func checkPosition(kind *eventSource, c *api.EventSourceMappingConfiguration) error {
	position := awsapi.Val(c.StartingPosition)
	switch {
	case kind.positions == nil && (c.StartingPosition != nil || c.StartingPositionTimestamp != nil):
		name := strings.TrimSuffix(kind.name, " FIFO")
		return invalid("StartingPosition is not valid for %s event sources.", name)
	case kind.positions == nil:
		return nil
	case c.StartingPosition == nil && kind.position == "":
		return invalid("1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.")
	case c.StartingPosition == nil:
		c.StartingPosition = awsapi.Ptr(kind.position)
		position = kind.position
	case !slices.Contains(kind.positions, position):
		return invalid("Unsupported starting position for arn type: %s", awsapi.Val(c.EventSourceArn))
	}
	switch {
	case c.StartingPositionTimestamp != nil && position != "AT_TIMESTAMP":
		return invalid("Timestamp only valid with StartingPosition AT_TIMESTAMP")
	case c.StartingPositionTimestamp == nil && position == "AT_TIMESTAMP":
		return invalid("StartingPositionTimestamp must be given with StartingPosition AT_TIMESTAMP.")
	}
	return nil
}

// checkRequired refuses mappings that leave out what their source needs.
func checkRequired(kind *eventSource, c *api.EventSourceMappingConfiguration) error {
	kafka := kind == sourceKafka || kind == sourceSelfManaged
	switch {
	case kafka && len(c.Topics) == 0:
		return invalid("Required 'topics' parameter is missing.")
	case !kafka && len(c.Topics) > 0:
		return invalid("Unsupported Topics parameter for given event source mapping type.")
	case kind == sourceMQ && len(c.Queues) == 0:
		return invalid("Required 'queues' parameter is missing.")
	case kind != sourceMQ && len(c.Queues) > 0:
		return invalid("Unsupported Queues parameter for given event source mapping type.")
	case kind == sourceMQ && len(c.SourceAccessConfigurations) == 0:
		return invalid("Required 'sourceAccessConfigurations' parameter is missing.")
	case kind == sourceSelfManaged && bootstrap(c) == "":
		return invalid("Required 'endpoints' parameter is missing.")
	case kind == sourceDocumentDB && (c.DocumentDBEventSourceConfig == nil || c.DocumentDBEventSourceConfig.DatabaseName == nil):
		return invalid("Required 'documentDBEventSourceConfig.databaseName' parameter is missing.")
	}
	return nil
}

// bootstrap returns the addresses of a self-managed cluster.
func bootstrap(c *api.EventSourceMappingConfiguration) string {
	if c.SelfManagedEventSource == nil {
		return ""
	}
	var all []string
	for _, k := range slices.Sorted(maps.Keys(c.SelfManagedEventSource.Endpoints)) {
		all = append(all, c.SelfManagedEventSource.Endpoints[k]...)
	}
	return strings.Join(all, ",")
}

// initial writes *to if it is nil.
func initial[T any](to **T, v T) {
	if *to == nil {
		*to = &v
	}
}

// defaults fills in what AWS shows of a new mapping whose creator left it out.
func (k *eventSource) defaults(c *api.EventSourceMappingConfiguration) {
	initial(&c.BatchSize, k.batch)
	switch {
	case k == sourceSQS || k == sourceFIFO:
		initial(&c.MaximumBatchingWindowInSeconds, 0)
		c.FunctionResponseTypes = list(c.FunctionResponseTypes)
	case k.stream:
		initial(&c.MaximumBatchingWindowInSeconds, 0)
		initial(&c.BisectBatchOnFunctionError, false)
		initial(&c.DestinationConfig, api.DestinationConfig{})
		initial(&c.DestinationConfig.OnFailure, api.OnFailure{})
		initial(&c.LastProcessingResult, "No records processed")
		initial(&c.MaximumRecordAgeInSeconds, -1)
		initial(&c.MaximumRetryAttempts, -1)
		initial(&c.ParallelizationFactor, 1)
		initial(&c.TumblingWindowInSeconds, 0)
		c.FunctionResponseTypes = list(c.FunctionResponseTypes)
	case k == sourceKafka:
		initial(&c.AmazonManagedKafkaEventSourceConfig, api.AmazonManagedKafkaEventSourceConfig{})
		initial(&c.AmazonManagedKafkaEventSourceConfig.ConsumerGroupId, uuid.NewString())
		initial(&c.LastProcessingResult, "No records processed")
	case k == sourceSelfManaged:
		initial(&c.SelfManagedKafkaEventSourceConfig, api.SelfManagedKafkaEventSourceConfig{})
		initial(&c.SelfManagedKafkaEventSourceConfig.ConsumerGroupId, uuid.NewString())
		initial(&c.LastProcessingResult, "No records processed")
	case k == sourceDocumentDB:
		initial(&c.DocumentDBEventSourceConfig.FullDocument, "Default")
	}
}
