package lambda

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/awsapi/awsapitest"
	"github.com/hearth-run/hearth/internal/awsapi/wire"
)

// request decodes and checks an input with text in every label, query
// parameter and header. It fails t unless the outcome is a 4xx of AWS's or none.
func request(t *testing.T, operation, text, query string, body []byte) {
	t.Helper()
	in := &wire.Request{Header: http.Header{}, Query: query, Body: body, Labels: []string{text, text, text}}
	for _, h := range []string{"X-Amz-Invocation-Type", "X-Amz-Log-Type", "X-Amz-Client-Context", "X-Amz-Tenant-Id", "X-Amz-Durable-Execution-Name"} {
		in.Header.Set(h, text)
	}
	v, err := decoders[operation](in)
	if err == nil {
		err = v.(interface{ Validate() error }).Validate()
	}
	var e *awsapi.Error
	if err != nil && (!errors.As(err, &e) || e.Status < 400 || e.Status > 499 || e.Message == "") {
		t.Fatalf("%s of %q, %q, %q: %v, want a 4xx or success", operation, text, query, body, err)
	}
}

// bodies returns documents with every member that any input has, with text where text may be.
func bodies(text string) [][]byte {
	var out [][]byte
	for _, v := range []any{&CreateFunctionRequest{}, &CreateEventSourceMappingRequest{}, &CreateCapacityProviderRequest{}, &PublishLayerVersionRequest{}, &CheckpointDurableExecutionRequest{}} {
		awsapitest.Fill(v)
		setStrings(reflect.ValueOf(v), text)
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		out = append(out, b)
	}
	return out
}

func setStrings(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.Pointer:
		setStrings(v.Elem(), text)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				setStrings(v.Field(i), text)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			setStrings(v.Index(i), text)
		}
	case reflect.String:
		v.SetString(text)
	}
}

// FuzzOperations: whatever comes in a path, query, header or body is taken, or
// refused with a 4xx that says why. It never panics.
func FuzzOperations(f *testing.F) {
	for i, op := range Operations {
		f.Add(uint8(i), "f", op.Query, []byte(`{"FunctionName":"f"}`))
	}
	for _, b := range bodies("x") {
		f.Add(uint8(0), "x", "MaxItems=x&Qualifier=%zz", b)
	}
	f.Add(uint8(3), "\xff", "a=b;c", []byte("[]"))
	f.Fuzz(func(t *testing.T, n uint8, text, query string, body []byte) {
		op := Operations[int(n)%len(Operations)]
		request(t, op.Name, text, query, body)
	})
}

// TestMalformed lists what is answered to malformed inputs.
func TestMalformed(t *testing.T) {
	for _, tt := range []struct {
		operation, query, body, code, message string
	}{
		{"CreateFunction", "", `{`, "SerializationException", "Unexpected end-of-input"},
		{"CreateFunction", "", `[]`, "SerializationException", "Start of list found where not expected"},
		{"CreateFunction", "", `{"Timeout":"3"}`, "SerializationException", "STRING_VALUE can not be converted to an Integer"},
		{"CreateFunction", "", `{"Environment":"x"}`, "SerializationException", "Unexpected field type"},
		{"CreateFunction", "", `{}`, "ValidationException", "3 validation errors detected: Value null at 'functionName' failed to satisfy constraint: Member must not be null; " +
			"Value null at 'role' failed to satisfy constraint: Member must not be null; Value null at 'code' failed to satisfy constraint: Member must not be null"},
		{"CreateFunction", "", `{` + create + `,"Timeout":0}`, "ValidationException", "1 validation error detected: Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"CreateFunction", "", `{` + create + `,"FileSystemConfigs":[{"Arn":"x","LocalMountPath":"/mnt/a"}]}`, "ValidationException",
			"1 validation error detected: Value 'x' at 'fileSystemConfigs.1.member.arn' failed to satisfy constraint: Member must satisfy regular expression pattern: " + constraintsOfFileSystemArn.Pattern.Words[len("Member must satisfy regular expression pattern: "):]},
		{"CreateFunction", "", `{` + create + `,"Environment":{"Variables":{"1":"v"}}}`, "ValidationException",
			"1 validation error detected: Value '{1=v}' at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]"},
		{"CreateFunction", "", `{` + create + `,"Layers":null,"Unknown":{"deep":[1,{}]}}`, "NotImplementedException", "Hearth does not implement the operation CreateFunction yet."},
		{"ListFunctions", "MaxItems=abc", "", "SerializationException", "STRING_VALUE can not be converted to an Integer"},
		{"ListFunctions", "MaxItems=10001", "", "ValidationException", "1 validation error detected: Value '10001' at 'maxItems' failed to satisfy constraint: Member must have value less than or equal to 10000"},
		{"ListFunctions", "Marker=%zz", "", "SerializationException", "The query string is malformed."},
	} {
		e := call(t, tt.operation, &wire.Request{Query: tt.query, Body: []byte(tt.body)})
		if e.Code != tt.code || e.Message != tt.message {
			t.Errorf("%s %s %s:\n%s: %s\nwant %s: %s", tt.operation, tt.query, tt.body, e.Code, e.Message, tt.code, tt.message)
		}
	}
}

// TestAbsentAndEmpty: nil members are left out, empty ones are written.
func TestAbsentAndEmpty(t *testing.T) {
	out := wire.Response{}
	encodeFunctionConfiguration(&out, &FunctionConfiguration{
		FunctionName: awsapi.Ptr("f"),
		Layers:       []Layer{},
		Environment:  &EnvironmentResponse{Variables: map[string]string{}},
	})
	const want = `{"FunctionName":"f","Environment":{"Variables":{}},"Layers":[]}`
	if got := string(out.B); got != want {
		t.Errorf("encoded %s, want %s", got, want)
	}
}

// BenchmarkDecodeCreateFunction reads an input with an archive of 1 MB.
func BenchmarkDecodeCreateFunction(b *testing.B) {
	body := []byte(`{` + strings.Replace(create, "UEsF", strings.Repeat("AAAA", 350_000)+"UEsF", 1) + `}`)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		v, err := DecodeCreateFunctionRequest(&wire.Request{Body: body})
		if err == nil {
			err = v.Validate()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkServeInvoke decodes and checks what Invoke takes.
func BenchmarkServeInvoke(b *testing.B) {
	in := &wire.Request{Header: http.Header{"X-Amz-Invocation-Type": {"RequestResponse"}}, Labels: []string{"my-function"}, Body: []byte(`{"a":1}`)}
	b.ReportAllocs()
	for b.Loop() {
		v, err := DecodeInvocationRequest(in)
		if err == nil {
			err = v.Validate()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
