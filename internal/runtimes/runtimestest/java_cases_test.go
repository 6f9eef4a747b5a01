package runtimestest

import (
	"os"
	"path/filepath"
	"strings"
)

// jv is a case of a class in testdata/java/cases.
func jv(name, handler string, payloads ...string) Case {
	c := Case{Name: name, Handler: "cases." + handler}
	for _, p := range payloads {
		c.Events = append(c.Events, Event{Payload: p})
	}
	return c
}

var javaCases = []Case{
	jv("maps", "Values$Maps", `{}`, `{"a":1,"b":[true,false,null,"x"],"c":{"d":1.5}}`, `null`, `[]`, `""`, `{"n":12345678901234567890123,"f":1e400,"z":-0.0,"e":1E5}`,
		`{'single':'quotes',unquoted:007,"n":NaN}`, `{"ключ":"😀 \u2028\u0000\"\\\/"}`),
	jv("bad events", "Values$Maps", `[1,2]`, `"text"`, `17`, `{"a":`, `{"a":1} trailing`),
	jv("objects", "Values$Objects", `1`, `"x"`, `[1,2.0,{"a":null}]`, `null`, `true`, `1.0`, `123456789012`),
	jv("strings", "Values$Strings", `"x"`, `""`, `1`, `null`, `true`, `{"a":1}`, `["a"]`),
	jv("integers", "Values$Integers", `1`, `"5"`, `1.9`, `null`, `99999999999`, `[3]`, `""`),
	jv("lists", "Values$Lists", `[1,2]`, `7`, `[]`, `["3"]`, `null`),
	jv("nothing", "Values$Nothing", `{}`, `1`),
	jv("null", "Values$Null"),
	jv("beans", "Values$Orders", `{}`, `{"id":"a","amount":3,"paid":true,"color":"GREEN","parts":[{"id":"b"}],"prices":{"x":1},"open":"o","URL":"u","unknown":1}`,
		`{"url":"u","Id":"no","amount":null,"color":"BLUE","parts":{"id":"single"},"note":"n"}`, `{"at":1700000000.5,"day":[2026,11,25]}`, `{"at":"2026-11-25T00:00:00Z","day":"2026-11-25"}`,
		`{"amount":"x"}`, `{"paid":"maybe"}`, `""`, `[]`),
	jv("inherited parameters", "Values$Inherited", `{"id":"a"}`),
	jv("unbound parameter", "Values$Unbound"),
	jv("bound parameter", "Values$Bound", `{"id":"a"}`),
	jv("raw handler", "Values$Raw", `{}`),
	jv("rich values", "Values$Rich"),
	jv("surrogate", "Values$Surrogate"),
	jv("endless value", "Values$Loop").dropping(`"errorMessage":"[^"]*"|(?s)Caused by.*`),
	jv("broken getter", "Values$BrokenGetter"),
	jv("empty bean", "Values$EmptyBean", `{"a":1}`, `{}`),
	jv("abstract event", "Values$Abstract", `{"name":"x"}`),

	jv("stream", "Methods$Stream", `{"a":"é"}`, `not even json`),
	jv("silent stream", "Methods$Silent"),
	jv("method without parameters", "Methods::none", `{}`, `1`),
	jv("method of an event", "Methods::event", `"e"`),
	jv("method of a context", "Methods::context"),
	jv("method of both", "Methods::both", `{"a":1}`),
	jv("void method", "Methods::nothing"),
	jv("primitives", "Methods::primitive", `21`, `"4"`, `null`, `{}`),
	jv("arrays", "Methods::array", `[5,6]`, `[]`),
	jv("static method", "Methods::fixed", `{"a":[1]}`),
	jv("stream method in", "Methods::in", `{"x":1}`),
	jv("stream method out", "Methods::out"),
	jv("stream method in, out", "Methods::inOut", `{"x":1}`),
	jv("stream method in, context", "Methods::inContext"),
	jv("stream method out, context", "Methods::outContext"),
	jv("stream method all", "Methods::all", `{"x":1}`),
	jv("method with context first", "Methods::wrongOrder"),
	jv("method of two events", "Methods::twoEvents"),
	jv("method out without context", "Methods::outNoContext"),
	jv("method in without out", "Methods::inNoOut"),
	jv("method of three", "Methods::three"),
	jv("method of four", "Methods::four"),
	jv("overloaded method", "Methods::overloaded"),
	jv("private method", "Methods::hidden"),
	jv("package method", "Methods::throwing"),
	jv("missing method", "Methods::missing"),
	jv("method fails", "Methods::fails", `{}`, `{}`),
	jv("static stream method fails", "Methods::failsStatic"),
	jv("interface by its method", "Values$Maps::handleRequest", `{"a":1}`),

	jv("exception", "Failures$Unchecked", `{}`, `{}`),
	jv("exception without message", "Failures$NoMessage"),
	jv("cause and suppressed", "Failures$Caused"),
	jv("circular cause", "Failures$Circular"),
	jv("checked exception", "Failures$Checked::handle"),
	jv("null pointer", "Failures$NullPointer"),
	jv("class cast", "Failures$Mistyped", `{"n":"x"}`),
	jv("stack overflow", "Failures$Overflow").dropping(`"stackTrace":\[[^\]]*\]|\tat [^\n]*\n`),
	jv("out of memory", "Failures$OutOfMemory", `{}`, `{}`),
	jv("broken IO", "Failures$BrokenIO"),
	jv("assertion", "Failures$Asserting"),
	jv("exit", "Failures$Exits"),
	jv("static initializer", "Failures$StaticInit"),
	jv("constructor", "Failures$Constructor"),
	jv("checked constructor", "Failures$CheckedConstructor"),
	jv("exit in a constructor", "Failures$ConstructorExits::handle"),
	jv("private constructor", "Failures$PrivateConstructor"),
	jv("constructor with arguments", "Failures$Arguments"),
	jv("inner class", "Failures$Inner"),
	jv("abstract class", "Failures$Abstract"),
	jv("class that is not public", "Failures$NotPublic"),
	jv("no handler", "Failures$NoHandler"),
	jv("missing class", "Missing"),
	jv("missing class's method", "Missing::handle"),
	jv("no class", "").named("no class", "::handle"),
	jv("no method", "").named("no method", "cases.Methods::"),
	jv("class in a wrong case", "methods::none"),

	withHead(jv("context", "Surroundings$Contexts"), Event{}, Event{TraceID: "Root=1-2-3;Sampled=1", TenantID: "blue",
		CognitoIdentity: `{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}`,
		ClientContext:   `{"client":{"installation_id":"i","app_title":"t","app_version_name":"n","app_version_code":"c","app_package_name":"p"},"custom":{"k":"v"},"env":{"make":"m"}}`}),
	withHead(jv("empty client context", "Surroundings$Contexts"), Event{ClientContext: `{}`, CognitoIdentity: `{}`}),
	withHead(jv("bad client context", "Surroundings$Contexts"), Event{ClientContext: `[1]`}, Event{}),
	withHead(jv("android", "Values$Orders"), Event{Payload: `{"id":"a","color":"RED","open":null,"unknown":1}`, ClientContext: `{"env":{"platform":"Android"}}`}).dropping(`unnamed module @[0-9a-f]+`),
	jv("machine", "Surroundings$Machine"),
	jv("logs", "Surroundings$Logs", `{}`, `{}`),
	jv("logs as JSON", "Surroundings$Logs", `{}`, `{}`).with("AWS_LAMBDA_LOG_FORMAT", "JSON"),
	jv("logs from a level", "Surroundings$Logs").with("AWS_LAMBDA_LOG_FORMAT", "JSON", "AWS_LAMBDA_LOG_LEVEL", "WARN"),
	jv("errors as JSON", "Failures$Caused").with("AWS_LAMBDA_LOG_FORMAT", "JSON"),
	jv("concurrent", "Surroundings$Logs", `{}`, `{}`).with("AWS_LAMBDA_MAX_CONCURRENCY", "1", "AWS_LAMBDA_LOG_FORMAT", "JSON"),
	jv("concurrent errors", "Failures$OutOfMemory", `{}`, `{}`).with("AWS_LAMBDA_MAX_CONCURRENCY", "1"),
	jv("java.util.logging", "Surroundings$JavaLogging").dropping(`[A-Z][a-z]{2} \d\d, \d{4},? [0-9:]+\S* [AP]M`),
	jv("threads", "Surroundings$Threads", `{}`, `{}`),
	jv("child process", "Surroundings$Child"),
	jv("large answer", "Surroundings$Large", `"x"`, `"`+strings.Repeat("y", 2_000_000)+`"`),

	jv("SQS", "Events$Sqs", sqsEvent),
	jv("SQS batch response", "Events$SqsBatch", sqsEvent),
	jv("S3", "Events$S3", s3Event),
	jv("SNS", "Events$Sns", `{"Records":[{"EventVersion":"1.0","EventSubscriptionArn":"arn","EventSource":"aws:sns","Sns":{"SignatureVersion":"1","Timestamp":"2019-01-02T12:45:07.000Z","Signature":"s","MessageId":"m","Message":"Hello","MessageAttributes":{"Test":{"Type":"String","Value":"x"}},"Type":"Notification","TopicArn":"t","Subject":null}}]}`),
	jv("Kinesis", "Events$Kinesis", `{"Records":[{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"1","sequenceNumber":"495","data":"SGVsbG8=","approximateArrivalTimestamp":1545084650.987},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"e","eventName":"aws:kinesis:record","invokeIdentityArn":"i","awsRegion":"us-east-2","eventSourceARN":"a"}]}`),
	jv("DynamoDB", "Events$Dynamodb", `{"Records":[{"eventID":"1","eventName":"INSERT","eventVersion":"1.0","eventSource":"aws:dynamodb","awsRegion":"us-east-1","dynamodb":{"ApproximateCreationDateTime":1479499740,"Keys":{"Id":{"N":"101"}},"NewImage":{"Message":{"S":"New item!"},"B":{"B":"AAE="},"L":{"L":[{"BOOL":true},{"NULL":true}]},"SS":{"SS":["a"]}},"SequenceNumber":"111","SizeBytes":26,"StreamViewType":"NEW_AND_OLD_IMAGES"},"eventSourceARN":"a"}]}`),
	jv("scheduled", "Events$Scheduled", `{"version":"0","account":"123456789012","region":"us-east-2","detail":{"a":[1]},"detail-type":"Scheduled Event","source":"aws.events","time":"2019-03-01T01:23:45Z","id":"cdc73f9d","resources":["arn"]}`),
	jv("API Gateway v2", "Events$Http", `{"version":"2.0","routeKey":"$default","rawPath":"/p","rawQueryString":"a=1","cookies":["c=1"],"headers":{"X":"y"},"queryStringParameters":{"a":"1"},"requestContext":{"accountId":"1","apiId":"api","http":{"method":"POST","path":"/p","protocol":"HTTP/1.1","sourceIp":"127.0.0.1","userAgent":"agent"},"requestId":"id","stage":"$default","time":"12/Mar/2020:19:03:58 +0000","timeEpoch":1583348638390},"body":"eyJ0ZXN0IjoiYm9keSJ9","isBase64Encoded":true}`),
	jv("API Gateway v1", "Events$Rest", `{"resource":"/","path":"/","httpMethod":"GET","headers":null,"multiValueHeaders":{"a":["b"]},"requestContext":{"accountId":"1"},"body":null,"isBase64Encoded":false}`),
	own(jv("own serializer", "Values$Strings", `"x"`)),
}

const sqsEvent = `{"Records":[{"messageId":"059f36b4-87a3-44ab-83d2-661975830a7d","receiptHandle":"AQEB","body":"Test message.","attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1545082649183"},"messageAttributes":{"k":{"stringValue":"v","stringListValues":[],"binaryListValues":[],"dataType":"String"},"b":{"binaryValue":"AAE=","dataType":"Binary"}},"md5OfBody":"e4e6","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:my-queue","awsRegion":"us-east-2"}]}`

const s3Event = `{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-east-2","eventTime":"2019-09-03T19:37:27.192Z","eventName":"ObjectCreated:Put","userIdentity":{"principalId":"AWS:AID"},"requestParameters":{"sourceIPAddress":"205.255.255.255"},"responseElements":{"x-amz-request-id":"D82B","x-amz-id-2":"vlR7"},"s3":{"s3SchemaVersion":"1.0","configurationId":"828a","bucket":{"name":"DOC","ownerIdentity":{"principalId":"A3I5"},"arn":"arn:aws:s3:::DOC"},"object":{"key":"b21b/84fa+c.jpg","size":1305107,"eTag":"b21b","sequencer":"0C0F","versionId":null}}}]}`

func withHead(c Case, events ...Event) Case {
	c.Events = events
	return c
}

// own gives the function a serializer of its own.
func own(c Case) Case {
	c.Setup = func(dir string) error {
		services := filepath.Join(dir, "META-INF", "services")
		if err := os.MkdirAll(services, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(services, "com.amazonaws.services.lambda.runtime.CustomPojoSerializer"), []byte("cases.OwnSerializer\n"), 0o644)
	}
	return c
}
