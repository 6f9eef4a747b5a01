package lambda_test

import (
	"net/url"
	"strings"
	"testing"

	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
)

// FuzzOperations: no input, to no operation, is answered by a server error.
func FuzzOperations(f *testing.F) {
	for i := range api.Operations {
		f.Add(i, "fn", "1", "Qualifier=1", `{}`)
		f.Add(i, "fn:live", "live", "Marker=bm90IGpzb24&MaxItems=1", `{"FunctionName":"fn"}`)
	}
	index := map[string]int{}
	for i, op := range api.Operations {
		index[op.Name] = i
	}
	for _, seed := range [][2]string{
		{"CreateFunction", `{"FunctionName":"new","Role":"` + role + `","Runtime":"python3.12","Handler":"a.b","Code":{"ZipFile":"` + archive("x") + `"},"Layers":["arn:aws:lambda:us-east-1:111111111111:layer:libs:1"],"Publish":true}`},
		{"CreateFunction", `{"FunctionName":"image","Role":"` + role + `","PackageType":"Image","Code":{"ImageUri":"a@sha256:b"},"ImageConfig":{"Command":[]},"VpcConfig":{},"Environment":{},"LoggingConfig":{"LogFormat":"JSON"},"SnapStart":{}}`},
		{"UpdateFunctionConfiguration", `{"TracingConfig":{},"EphemeralStorage":{"Size":512},"DeadLetterConfig":{},"CapacityProviderConfig":{"LambdaManagedInstancesCapacityProviderConfig":{"CapacityProviderArn":"arn:aws:lambda:us-east-1:111111111111:capacity-provider:cp"}}}`},
		{"UpdateFunctionCode", `{"ZipFile":"` + archive("y") + `","Publish":true,"DryRun":false}`},
		{"CreateEventSourceMapping", `{"FunctionName":"fn","EventSourceArn":"` + queue + `","FilterCriteria":{"Filters":[{"Pattern":"{\"a\":[{\"numeric\":[\">\",1]}]}"}]},"ScalingConfig":{},"DestinationConfig":{"OnFailure":{}}}`},
		{"CreateEventSourceMapping", `{"FunctionName":"fn","SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["a:1"]}},"SourceAccessConfigurations":[],"Topics":["topic"],"ProvisionedPollerConfig":{}}`},
		{"CreateAlias", `{"Name":"a","FunctionVersion":"1","RoutingConfig":{"AdditionalVersionWeights":{"99999999999999999999":0.5}}}`},
		{"PutResourcePolicy", `{"Policy":"{\"Version\":\"2012-10-17\",\"Statement\":[null]}"}`},
		{"PutFunctionEventInvokeConfig", `{"DestinationConfig":{"OnSuccess":{"Destination":"arn:aws:lambda:us-east-1:111111111111:function:fn:1"}}}`},
		{"PublishLayerVersion", `{"Content":{"S3Bucket":"b"}}`},
		{"CreateFunctionUrlConfig", `{"AuthType":"NONE","Cors":{}}`},
	} {
		f.Add(index[seed[0]], "fn", "1", "", seed[1])
	}
	s := newServer(f, "sqlite", nil)
	s.create("fn", "Publish", true)
	s.ok("POST", functions+"/fn/aliases", object{"Name": "live", "FunctionVersion": "1"})
	layer(s, "libs")
	f.Fuzz(func(t *testing.T, n int, first, second, query, body string) {
		op := api.Operations[uint(n)%uint(len(api.Operations))]
		if strings.HasPrefix(op.Name, "Invoke") {
			return
		}
		path, fixed, _ := strings.Cut(op.Path, "?")
		var b strings.Builder
		for i, part := range strings.Split(path, "/") {
			if i > 0 {
				b.WriteByte('/')
			}
			if strings.HasPrefix(part, "{") {
				part = url.PathEscape(first)
				first = second
			}
			b.WriteString(part)
		}
		q, err := url.ParseQuery(query)
		if err != nil {
			q = url.Values{}
		}
		target := b.String() + "?" + strings.Trim(fixed+"&"+q.Encode(), "&")
		if _, err := url.ParseRequestURI(target); err != nil {
			return
		}
		var in any
		if op.Method != "GET" && op.Method != "DELETE" {
			in = body
		}
		mine := *s
		mine.t = t
		a := mine.send(op.Method, target, in)
		if a.status >= 500 {
			t.Errorf("%s %s with %q: %d %s", op.Method, target, body, a.status, a.raw)
		}
	})
}
