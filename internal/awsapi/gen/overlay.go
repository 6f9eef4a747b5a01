package main

import (
	"slices"
	"strings"
)

// service says what is generated for one AWS service, and where the service's
// answers differ from its model.
type service struct {
	name       string   // of the package, the model's file and botocore's folder
	operations []string // those that are kept; nil means all
	doors      []string // operations with an HTTP door of their own: no methods of Service
	errors     []extraError

	statuses  map[string]int // by operation, where AWS answers with another than the model's
	violation string         // the exception for inputs that break constraints

	// What AWS's words about constraints tell beyond the model.
	enumOrder    map[string][]string // by enum: its values in AWS's order, as recorded
	patterns     map[string]string   // by string shape: the pattern that AWS shows; it matches beside the model's
	namePatterns map[string]bool     // string shapes that every plain name matches: a shortcut
	nullable     map[string]bool     // lists of which AWS does not say that elements must not be null
	listWords    map[string]string   // by list: the constraint of its elements, where AWS words it in another way
	checkFirst   map[string][]string // by input: members that are checked before the others
	unchecked    map[string]bool     // "Shape.Member": checked elsewhere
	extraChecks  map[string][]string // by input: functions to call when all constraints hold
}

// extraError is an exception that the service throws and its model does not have.
type extraError struct {
	code   string
	status int
	fault  string
	upper  bool // the member is Message, not message
	why    string
}

func (s service) door(operation string) bool { return slices.Contains(s.doors, operation) }

var services = []service{
	{
		name:      "lambda",
		doors:     []string{"Invoke", "InvokeAsync", "InvokeWithResponseStream"},
		violation: "ValidationException",
		statuses:  map[string]int{"DeleteFunction": 204},
		enumOrder: map[string][]string{
			"Runtime":             allRuntimes,
			"InvokeMode":          {"RESPONSE_STREAM", "BUFFERED"},
			"EventSourcePosition": {"LATEST", "AT_TIMESTAMP", "TRIM_HORIZON"},
			"SnapStartApplyOn":    {"PublishedVersions", "None"},
		},
		patterns: map[string]string{
			"LayerVersionArn":  `(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)`,
			"TaggableResource": `arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)`,
		},
		namePatterns: map[string]bool{
			"FunctionName": true, "NamespacedFunctionName": true, "UnqualifiedFunctionName": true,
			"NumericLatestPublishedOrAliasQualifier": true,
		},
		nullable:   map[string]bool{"SubnetIds": true, "SecurityGroupIds": true},
		listWords:  map[string]string{"CompatibleRuntimes": "Member must satisfy enum value set: [" + strings.Join(usableRuntimes, ", ") + "]"},
		checkFirst: map[string][]string{"PublishLayerVersionRequest": {"LayerName", "Description", "Content", "CompatibleRuntimes"}},
		unchecked:  map[string]bool{"CreateFunctionRequest.Runtime": true, "UpdateFunctionConfigurationRequest.Runtime": true},
		extraChecks: map[string][]string{
			"CreateFunctionRequest":              {"checkCreateRuntime"},
			"UpdateFunctionConfigurationRequest": {"checkUpdateRuntime"},
		},
		errors: []extraError{
			{"ValidationException", 400, "", false, "an input breaks a constraint of its shape"},
			{"SerializationException", 400, "", false, "an input's JSON has the wrong types"},
			{"AccessDeniedException", 403, "", true, "the caller may not do this"},
			{"RequestEntityTooLargeException", 413, "User", false, "a body or archive is larger than the operation takes"},
		},
	},
	{
		name:      "logs",
		violation: "InvalidParameterException",
		operations: []string{
			"CreateLogGroup", "CreateLogStream", "DeleteLogGroup", "DeleteLogStream",
			"DeleteRetentionPolicy", "DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents",
			"GetLogEvents", "ListTagsForResource", "ListTagsLogGroup", "PutLogEvents",
			"PutRetentionPolicy", "StartLiveTail", "TagLogGroup", "TagResource", "UntagLogGroup", "UntagResource",
		},
		errors: []extraError{
			{"SerializationException", 400, "", false, "an input's JSON has the wrong types"},
			{"UnknownOperationException", 400, "", false, "the target names no operation"},
		},
	},
}

// usableRuntimes are the runtimes in the order in which AWS lists them to those
// who create a function or a layer version for another; allRuntimes in that in
// which it lists them to those who ask for layers.
var (
	usableRuntimes = strings.Split("nodejs20.x python3.14 provided.al2023 python3.12 python3.13 nodejs24.x nodejs22.x java25 python3.10 python3.11 java21 ruby3.3 ruby3.4 ruby3.2 python3.8 python3.9 java17 nodejs16.x dotnet10 dotnet8 java11 dotnet6 nodejs18.x provided.al2 java8.al2", " ")
	allRuntimes    = strings.Split("ruby3.5 ruby2.6 dotnetcore1.0 python3.7 nodejs8.10 nasa ruby2.7 python2.7-greengrass dotnetcore2.0 python3.8 java21 dotnet6 dotnetcore2.1 python3.9 java11 nodejs6.10 provided dotnetcore3.1 dotnet8 java25 java17 nodejs nodejs4.3 java8.al2 go1.x dotnet10 nodejs20.x go1.9 byol nodejs10.x provided.al2023 nodejs22.x python3.10 java8 nodejs12.x python3.11 nodejs24.x nodejs8.x python3.12 nodejs14.x nodejs8.9 nodejs26.x python3.13 python3.14 nodejs16.x python3.15 provided.al2 nodejs4.3-edge nodejs18.x ruby3.2 python3.4 ruby3.3 ruby3.4 ruby2.5 python3.6 python2.7", " ")
)
