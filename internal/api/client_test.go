package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/hearthtest"
	"github.com/hearth-run/hearth/internal/instance"
	"github.com/hearth-run/hearth/internal/invoke"
)

func sdkClient(addr string) *awslambda.Client {
	return awslambda.New(awslambda.Options{
		Region:       "eu-west-1",
		BaseEndpoint: aws.String("http://" + addr),
		Retryer:      aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "123456789012", SecretAccessKey: "s"}, nil
		}),
	})
}

// TestStreamFirstByte: the client has the first chunk before the second is written.
func TestStreamFirstByte(t *testing.T) {
	got := make(chan string)
	h := newHandler(Config{Invoker: invokerFunc(func(ctx context.Context, r invoke.Request) (*invoke.Response, error) {
		if err := r.Sink.Begin("text/plain"); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(r.Sink, "first"); err != nil {
			return nil, err
		}
		select {
		case s := <-got:
			if s != "first" {
				t.Errorf("the client got %q first", s)
			}
		case <-time.After(10 * time.Second):
			t.Error("the first chunk did not arrive while the function waited for a sign")
		}
		if _, err := r.Sink.Write(make([]byte, 3*maxChunk)); err != nil {
			return nil, err
		}
		return &invoke.Response{Status: 200, ExecutedVersion: "1", LogTail: []byte("END"), FunctionError: instance.Unhandled, ErrorType: "Error", ErrorMessage: "broke"}, nil
	})})
	out, err := sdkClient(serve(t, h)).InvokeWithResponseStream(t.Context(), &awslambda.InvokeWithResponseStreamInput{
		FunctionName: aws.String("f"), Payload: []byte("{}"), LogType: types.LogTypeTail,
	})
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	var complete *types.InvokeWithResponseStreamCompleteEvent
	for e := range out.GetStream().Events() {
		switch e := e.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			if size == 0 {
				got <- string(e.Value.Payload)
			}
			size += len(e.Value.Payload)
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			complete = &e.Value
		}
	}
	if err := out.GetStream().Close(); err != nil {
		t.Error(err)
	}
	if size != len("first")+3*maxChunk || complete == nil || aws.ToString(complete.ErrorCode) != "Unhandled" ||
		aws.ToString(complete.ErrorDetails) != `{"errorType":"Error","errorMessage":"broke"}` || aws.ToString(complete.LogResult) != "RU5E" {
		t.Errorf("%d bytes and %+v", size, complete)
	}
}

func TestErrorDetails(t *testing.T) {
	const document = `{"errorType":"Error","trace":[]}`
	for _, tt := range []struct {
		res  invoke.Response
		want string
	}{
		{invoke.Response{Payload: []byte(document), ErrorMessage: "x"}, document},
		{invoke.Response{ErrorType: "Error", ErrorMessage: document}, document},
		{invoke.Response{ErrorType: "Error", ErrorMessage: "{broke"}, `{"errorType":"Error","errorMessage":"{broke"}`},
	} {
		if got := errorDetails(&tt.res); got != tt.want {
			t.Errorf("errorDetails(%+v) = %s, want %s", tt.res, got, tt.want)
		}
	}
}

// TestStreamWithoutBegin: what was not streamed is sent as one chunk, and an
// error before the stream is an ordinary answer.
func TestStreamWithoutBegin(t *testing.T) {
	var answer *invoke.Response
	var fail error
	h := newHandler(Config{Invoker: invokerFunc(func(_ context.Context, r invoke.Request) (*invoke.Response, error) {
		if v, ok := r.Sink.(interface{ ExecutedVersion(string) }); ok {
			v.ExecutedVersion("12")
		}
		return answer, fail
	})})
	client := sdkClient(serve(t, h))
	in := &awslambda.InvokeWithResponseStreamInput{FunctionName: aws.String("f")}
	answer = &invoke.Response{Status: 200, Payload: []byte(`"all"`), ContentType: "application/json"}
	out, err := client.InvokeWithResponseStream(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for e := range out.GetStream().Events() {
		if c, ok := e.(*types.InvokeWithResponseStreamResponseEventMemberPayloadChunk); ok {
			text.Write(c.Value.Payload)
		}
	}
	if err := out.GetStream().Close(); err != nil || text.String() != `"all"` || aws.ToString(out.ExecutedVersion) != "12" {
		t.Errorf("stream of %q, version %v, %v", text.String(), aws.ToString(out.ExecutedVersion), err)
	}

	fail = lambda.TooManyRequestsException("Rate Exceeded.")
	_, err = client.InvokeWithResponseStream(t.Context(), in)
	var throttled *types.TooManyRequestsException
	if !errors.As(err, &throttled) || throttled.ErrorMessage() != "Rate Exceeded." {
		t.Errorf("error = %v, want TooManyRequestsException", err)
	}
}

// TestStreamBroken: a stream whose end is not known has no end.
func TestStreamBroken(t *testing.T) {
	h := newHandler(Config{Invoker: invokerFunc(func(_ context.Context, r invoke.Request) (*invoke.Response, error) {
		if err := r.Sink.Begin(""); err != nil {
			return nil, err
		}
		return nil, errors.New("the instance is lost")
	})})
	res, err := http.Post("http://"+serve(t, h)+"/2021-11-15/functions/f/response-streaming-invocations", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("the stream ended well, with %q", b)
	}
}

// TestPython uses boto3, which nobody here wrote.
func TestPython(t *testing.T) {
	python := hearthtest.Need(t, "python")
	if out, err := exec.Command(python, "-c", "import boto3").CombinedOutput(); err != nil {
		hearthtest.Skip(t, "boto3", string(out))
	}
	h := newHandler(Config{
		Lambda: &fakeLambda{getFunction: func(_ context.Context, in *lambda.GetFunctionRequest) (*lambda.GetFunctionResponse, error) {
			return nil, lambda.ResourceNotFoundException("Function not found: " + *in.FunctionName)
		}},
		Invoker: invokerFunc(func(_ context.Context, r invoke.Request) (*invoke.Response, error) {
			if r.Stream {
				if err := r.Sink.Begin("text/plain"); err != nil {
					return nil, err
				}
				for _, s := range []string{"a", "b"} {
					if _, err := io.WriteString(r.Sink, s); err != nil {
						return nil, err
					}
				}
				return &invoke.Response{Status: 200}, nil
			}
			if r.Type == "Event" {
				return &invoke.Response{Status: 202}, nil
			}
			return &invoke.Response{Status: 200, ExecutedVersion: "3", Payload: []byte(r.ClientContext), LogTail: []byte("tail"), FunctionError: instance.Handled}, nil
		}),
	})
	const script = `
import boto3, base64, json, sys
from botocore.config import Config
c = boto3.client('lambda', endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='test', aws_secret_access_key='test', config=Config(retries={'max_attempts': 1}))
r = c.invoke(FunctionName='f', LogType='Tail', ClientContext=base64.b64encode(b'{"a": 1}').decode())
assert (r['StatusCode'], r['FunctionError'], r['ExecutedVersion'], base64.b64decode(r['LogResult']), r['Payload'].read()) == (200, 'Handled', '3', b'tail', b'{"a": 1}'), r
assert c.invoke(FunctionName='f', InvocationType='Event')['StatusCode'] == 202
s = c.invoke_with_response_stream(FunctionName='arn:aws:lambda:us-east-1:000000000000:function:f')
events = list(s['EventStream'])
assert b''.join(e['PayloadChunk']['Payload'] for e in events if 'PayloadChunk' in e) == b'ab' and events[-1]['InvokeComplete'] == {}, events
try:
    c.get_function(FunctionName='arn:aws:lambda:us-east-1:000000000000:function:f:1')
    assert False
except c.exceptions.ResourceNotFoundException as e:
    assert e.response['Message'] == 'Function not found: arn:aws:lambda:us-east-1:000000000000:function:f:1' and e.response['Type'] == 'User', e.response
    assert e.response['Error']['Code'] == 'ResourceNotFoundException' and e.response['ResponseMetadata']['HTTPStatusCode'] == 404, e.response
    assert len(e.response['ResponseMetadata']['RequestId']) == 36, e.response
try:
    c.invoke(FunctionName='f', Payload=b'x' * 6291457)
    assert False
except Exception as e:
    assert e.response['Error'] == {'Code': 'RequestEntityTooLargeException', 'Message': 'Request must be smaller than 6291456 bytes for the InvokeFunction operation'}, e
try:
    c.untag_resource(Resource='arn:aws:lambda:us-east-1:000000000000:function:f', TagKeys=['a', 'b'])
    assert False
except Exception as e:
    assert e.response['ResponseMetadata']['HTTPStatusCode'] == 501 and 'UntagResource' in str(e), e
print('ok')
`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "-c", script, "http://"+serve(t, h)).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("boto3: %v\n%s", err, out)
	}
}

// TestCLI uses the aws command.
func TestCLI(t *testing.T) {
	cli := hearthtest.Need(t, "aws")
	addr := serve(t, newHandler(Config{}))
	file := filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cli, "--endpoint-url", "http://"+addr, "lambda", "invoke", "--function-name", "f", "--payload", `"e30="`, "--output", "json", file)
	cmd.Env = append(cmd.Environ(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_DEFAULT_REGION=us-east-1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"ExecutedVersion": "$LATEST"`) {
		t.Errorf("aws lambda invoke: %v\n%s", err, out)
	}
}
