package lambda

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/internal/awsapi/awsapitest"
	"github.com/hearth-run/hearth/internal/awsapi/wire"
)

// TestSDK sends each operation's input, with all members set, through AWS's own
// client, and reads it with the generated decoder; then it reads the generated
// encoder's output with that client. Nothing may be lost or changed.
func TestSDK(t *testing.T) {
	for _, op := range Operations {
		t.Run(op.Name, func(t *testing.T) {
			var in any
			out := wire.Response{Status: op.Status, Header: http.Header{}}
			enc, hasOutput := encoders[op.Name]
			var want any
			if hasOutput {
				v := enc.empty()
				awsapitest.Fill(v)
				if status := reflect.ValueOf(v).Elem().FieldByName("StatusCode"); status.IsValid() {
					status.Set(reflect.ValueOf(new(int32)))
					status.Elem().SetInt(202)
				}
				enc.encode(&out, v)
				want = awsapitest.Plain(v)
			}
			client := awslambda.New(awslambda.Options{
				Region:       "us-east-1",
				BaseEndpoint: aws.String("http://localhost"),
				Retryer:      aws.NopRetryer{},
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					return aws.Credentials{AccessKeyID: "k", SecretAccessKey: "s"}, nil
				}),
				HTTPClient: &http.Client{Transport: awsapitest.Transport(func(r *http.Request) (*http.Response, error) {
					var body []byte
					if r.Body != nil {
						var err error
						if body, err = io.ReadAll(r.Body); err != nil {
							return nil, err
						}
					}
					if r.Method != op.Method {
						t.Errorf("the client uses %s, the table says %s", r.Method, op.Method)
					}
					req, err := awsapitest.Request(r, op.Path, body)
					if err != nil {
						return nil, err
					}
					if in, err = decoders[op.Name](req); err != nil {
						return nil, err
					}
					return &http.Response{StatusCode: out.Status, Header: out.Header, Body: io.NopCloser(bytes.NewReader(out.B)), Request: r}, nil
				})},
			})
			method := reflect.ValueOf(client).MethodByName(op.Name)
			if !method.IsValid() {
				t.Skip("the SDK at hand has no such operation")
			}
			input := reflect.New(method.Type().In(1).Elem())
			awsapitest.Fill(input.Interface())
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			res := method.Call([]reflect.Value{reflect.ValueOf(ctx), input})
			if in == nil {
				t.Fatalf("nothing was decoded: %v", res[1])
			}
			if diff := cmp.Diff(awsapitest.Plain(input.Interface()), awsapitest.Plain(in)); diff != "" {
				t.Errorf("the input arrived otherwise than it was sent (-sent +arrived):\n%s", diff)
			}
			if !hasOutput {
				return // without an output, or with a door of its own
			}
			if err, ok := res[1].Interface().(error); ok {
				t.Fatalf("the client could not read the output: %v\n%s", err, out.B)
			}
			if diff := cmp.Diff(awsapitest.Known(want, res[0].Type()), awsapitest.Plain(res[0].Interface())); diff != "" {
				t.Errorf("the output arrived otherwise than it was sent (-sent +arrived):\n%s\n%s", diff, out.B)
			}
		})
	}
}
