package main

import "slices"

// service says what is generated for one AWS service, and where the service's
// answers differ from its model.
type service struct {
	name       string   // of the package, the model's file and botocore's folder
	operations []string // those that are kept; nil means all
	doors      []string // operations with an HTTP door of their own: no methods of Service
	errors     []extraError
}

// extraError is an exception that the service throws and its model does not have.
type extraError struct {
	code   string
	status int
	fault  string
	why    string
}

func (s service) door(operation string) bool { return slices.Contains(s.doors, operation) }

var services = []service{
	{
		name:  "lambda",
		doors: []string{"Invoke", "InvokeAsync", "InvokeWithResponseStream"},
		errors: []extraError{
			{"ValidationException", 400, "", "an input breaks a constraint of its shape"},
			{"SerializationException", 400, "", "an input's JSON has the wrong types"},
			{"AccessDeniedException", 403, "", "the caller may not do this"},
			{"RequestEntityTooLargeException", 413, "User", "a body or archive is larger than the operation takes"},
		},
	},
	{
		name: "logs",
		operations: []string{
			"CreateLogGroup", "CreateLogStream", "DeleteLogGroup", "DeleteLogStream",
			"DeleteRetentionPolicy", "DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents",
			"GetLogEvents", "ListTagsForResource", "ListTagsLogGroup", "PutLogEvents",
			"PutRetentionPolicy", "StartLiveTail", "TagLogGroup", "TagResource", "UntagLogGroup", "UntagResource",
		},
		errors: []extraError{
			{"SerializationException", 400, "", "an input's JSON has the wrong types"},
			{"UnknownOperationException", 400, "", "the target names no operation"},
		},
	},
}
