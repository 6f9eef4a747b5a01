package e2e

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/hearth-run/hearth/internal/hearthtest"
)

func TestGoSDK(t *testing.T) {
	hearthtest.Need(t, "python")
	s := serve(t, t.TempDir())
	c := lambda.New(lambda.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(s.url), Credentials: credentials.NewStaticCredentialsProvider("hearth", "hearth", ""),
	})
	code, err := os.ReadFile(archive(t, "app.py", handler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, name := t.Context(), aws.String("go")
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v\nserver: %s", what, err, s.err)
		}
	}
	created, err := c.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: name, Runtime: types.RuntimePython313, Handler: aws.String("app.handler"), Role: aws.String("arn:aws:iam::000000000000:role/r"),
		Code: &types.FunctionCode{ZipFile: code},
	})
	must("CreateFunction", err)
	if created.State != types.StatePending {
		t.Errorf("CreateFunction: state %s, want Pending", created.State)
	}
	must("wait until it is active", lambda.NewFunctionActiveV2Waiter(c).Wait(ctx, &lambda.GetFunctionInput{FunctionName: name}, time.Minute))
	answer, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name, Payload: []byte(`{"name":"Go"}`), LogType: types.LogTypeTail})
	must("Invoke", err)
	if string(answer.Payload) != `{"hello": "Go", "v": 1}` || answer.StatusCode != 200 {
		t.Errorf("Invoke answered %d %s", answer.StatusCode, answer.Payload)
	}
	if log, err := base64.StdEncoding.DecodeString(aws.ToString(answer.LogResult)); err != nil || !strings.Contains(string(log), "REPORT RequestId") {
		t.Errorf("the tail of the log is %q, %v", log, err)
	}
	updated := func() {
		t.Helper()
		must("wait until it is updated", lambda.NewFunctionUpdatedV2Waiter(c).Wait(ctx, &lambda.GetFunctionInput{FunctionName: name}, time.Minute))
	}
	_, err = c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: name, Timeout: aws.Int32(10)})
	must("UpdateFunctionConfiguration", err)
	updated()
	code, err = os.ReadFile(archive(t, "app.py", strings.Replace(handler, "VERSION = 1", "VERSION = 2", 1)))
	must("read", err)
	_, err = c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: code})
	must("UpdateFunctionCode", err)
	updated()

	streamed, err := c.InvokeWithResponseStream(ctx, &lambda.InvokeWithResponseStreamInput{FunctionName: name, Payload: []byte(`{}`)})
	must("InvokeWithResponseStream", err)
	var body strings.Builder
	complete := false
	stream := streamed.GetStream()
	for event := range stream.Events() {
		switch e := event.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			body.Write(e.Value.Payload)
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			complete = e.Value.ErrorCode == nil
		}
	}
	must("close the stream", stream.Close())
	if body.String() != `{"hello": null, "v": 2}` || !complete {
		t.Errorf("the stream gave %s, complete %v", body.String(), complete)
	}

	_, err = c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name})
	must("DeleteFunction", err)
	_, err = c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) {
		t.Errorf("Invoke after DeleteFunction: %v, want ResourceNotFoundException", err)
	}
}
