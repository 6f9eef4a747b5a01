package lambda_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	api "github.com/hearth-run/hearth/internal/awsapi/lambda"
	"github.com/hearth-run/hearth/internal/lambda"
)

var update = flag.Bool("update", false, "write the table of operations in docs/compatibility.md")

// standings are the operations and options that do not simply work: "stored"
// means checked, kept, shown, and without effect; "refused" means an error that says so.
// The key is an operation, or an operation and an option of its input.
var standings = map[string]string{
	"CreateFunction.AcceleratorConfig":                      "stored: no accelerator is given to instances",
	"CreateFunction.CapacityProviderConfig":                 "stored: the function becomes ActiveNonInvocable, with the reason, and its invocation is refused",
	"CreateFunction.CodeSigningConfigArn":                   "works with Warn; with Enforce code is refused, since Hearth verifies no signatures",
	"CreateFunction.DeadLetterConfig":                       "stored",
	"CreateFunction.DurableConfig":                          "stored: no durable executions are started",
	"CreateFunction.FileSystemConfigs":                      "stored: nothing is mounted",
	"CreateFunction.KMSKeyArn":                              "stored: the environment is not encrypted with it",
	"CreateFunction.Role":                                   "works as far as it exists, where an IAM endpoint is configured; functions get the server's configured credentials",
	"CreateFunction.RuntimeConfig":                          "stored",
	"CreateFunction.SnapStart":                              "stored: published versions show OptimizationStatus On and start like others",
	"CreateFunction.VpcConfig":                              "stored: instances are where the backend puts them",
	"CreateFunction.Code.SourceKMSKeyArn":                   "stored",
	"UpdateFunctionCode.SourceKMSKeyArn":                    "stored",
	"PutFunctionEventInvokeConfig.DestinationConfig":        "stored",
	"PutFunctionEventInvokeConfig.MaximumEventAgeInSeconds": "stored",
	"PutFunctionEventInvokeConfig.MaximumRetryAttempts":     "stored",
	"PutProvisionedConcurrencyConfig":                       "stored: counted against the account and reported READY; instances are started on demand",
	"PutFunctionRecursionConfig":                            "stored: loops are not looked for",
	"PutFunctionScalingConfig":                              "stored: AppliedFunctionScalingConfig stays absent",
	"PutRuntimeManagementConfig":                            "stored; a RuntimeVersionArn that is not the current one is refused",
	"CreateEventSourceMapping":                              "stored: checked and reported Enabled; sources are not polled",
	"UpdateEventSourceMapping":                              "stored, likewise",
	"CreateFunctionUrlConfig":                               "stored: the URL is not listened on",
	"UpdateFunctionUrlConfig":                               "stored, likewise",
	"CreateCapacityProvider":                                "stored: no instance runs on it",
	"UpdateCapacityProvider":                                "stored, likewise",
	"AddPermission":                                         "works for operations on resources from other accounts",
	"PutResourcePolicy":                                     "works likewise for functions; refused for runtimes",
	"CheckpointDurableExecution":                            "refused: there are no durable executions",
	"GetDurableExecution":                                   "refused, likewise",
	"GetDurableExecutionHistory":                            "refused, likewise",
	"GetDurableExecutionState":                              "refused, likewise",
	"StopDurableExecution":                                  "refused, likewise",
	"PauseDurableExecution":                                 "refused, likewise",
	"ResumeDurableExecution":                                "refused, likewise",
	"DeleteDurableExecution":                                "refused, likewise",
	"SendDurableExecutionCallbackSuccess":                   "refused, likewise",
	"SendDurableExecutionCallbackFailure":                   "refused, likewise",
	"SendDurableExecutionCallbackHeartbeat":                 "refused, likewise",
	"ListDurableExecutionsByFunction":                       "works: the list is empty",
	"Invoke.DurableExecutionName":                           "refused",
}

func init() {
	// What is said of one request holds for its counterpart.
	for key, s := range standings {
		if option, ok := strings.CutPrefix(key, "CreateFunction."); ok && slices.Contains([]string{
			"AcceleratorConfig", "CapacityProviderConfig", "DeadLetterConfig", "DurableConfig", "FileSystemConfigs", "KMSKeyArn", "Role", "RuntimeConfig", "SnapStart", "VpcConfig",
		}, option) {
			standings["UpdateFunctionConfiguration."+option] = s
		}
		if option, ok := strings.CutPrefix(key, "PutFunctionEventInvokeConfig."); ok {
			standings["UpdateFunctionEventInvokeConfig."+option] = s
		}
	}
}

// inputs returns the input of each operation that a Go type answers.
func inputs(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumMethod() {
		m := t.Method(i)
		out[m.Name] = m.Type.In(1).Elem()
	}
	out["Invoke"] = reflect.TypeFor[api.InvocationRequest]()
	out["InvokeAsync"] = reflect.TypeFor[api.InvokeAsyncRequest]()
	out["InvokeWithResponseStream"] = reflect.TypeFor[api.InvokeWithResponseStreamRequest]()
	return out
}

// compatibility returns the table of the operations and their options.
func compatibility(t *testing.T) string {
	ops := inputs(reflect.TypeFor[api.Service]())
	used := map[string]bool{}
	standing := func(key string) string {
		used[key] = true
		if s := standings[key]; s != "" {
			return s
		}
		return "works"
	}
	var b strings.Builder
	b.WriteString("| operation | option | |\n|---|---|---|\n")
	for _, op := range api.Operations {
		of := standing(op.Name)
		fmt.Fprintf(&b, "| %s | | %s |\n", op.Name, of)
		in, ok := ops[op.Name]
		if !ok {
			t.Errorf("operation %s has no input", op.Name)
			continue
		}
		word, _, _ := strings.Cut(strings.TrimRight(strings.Fields(of)[0], ":,;"), " ")
		for i := range in.NumField() {
			name := in.Field(i).Name
			s := standing(op.Name + "." + name)
			if s == "works" {
				s = word // as the operation
			}
			fmt.Fprintf(&b, "| | %s | %s |\n", name, s)
			if ft := in.Field(i).Type; ft == reflect.TypeFor[*api.FunctionCode]() {
				for j := range ft.Elem().NumField() {
					inner := name + "." + ft.Elem().Field(j).Name
					fmt.Fprintf(&b, "| | %s | %s |\n", inner, standing(op.Name+"."+inner))
				}
			}
		}
	}
	for key := range standings {
		if !used[key] {
			t.Errorf("%s is no operation or option of the model", key)
		}
	}
	return b.String()
}

const (
	begin = "<!-- The table is written by: go test ./internal/lambda -run TestCompatibility -update -->\n"
	end   = "<!-- End of the table. -->\n"
	intro = `## The Lambda API

Every operation and every option of the newest model. "works" means as on AWS; "stored" means checked, kept and shown as AWS would, and without
effect beyond that; "refused" means an error that says so. Answers to the attempts recorded in ` + "`internal/awsapi/testdata/lambda-errors.tsv`" + ` are tested word for word.

`
)

// TestCompatibility: docs/compatibility.md says of each operation and option how it stands.
func TestCompatibility(t *testing.T) {
	const path = "../../docs/compatibility.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	table := compatibility(t)
	head, rest, ok := strings.Cut(doc, begin)
	was, tail, closed := strings.Cut(rest, end)
	if *update {
		if !ok || !closed {
			head, tail = strings.TrimRight(doc, "\n")+"\n\n"+intro, ""
		}
		if err := os.WriteFile(path, []byte(head+begin+table+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table, was); diff != "" {
		t.Errorf("%s is not what the code says (run with -update):\n%s", path, diff)
	}
}

// Every operation is answered by Service itself, and none by api.Unimplemented.
func TestAllOperations(t *testing.T) {
	service := reflect.TypeFor[*lambda.Service]()
	for name := range inputs(reflect.TypeFor[api.Service]()) {
		m, ok := service.MethodByName(name)
		if !ok {
			continue // an invocation
		}
		f := runtime.FuncForPC(m.Func.Pointer())
		if file, _ := f.FileLine(f.Entry()); file == "<autogenerated>" {
			t.Errorf("%s is answered by Unimplemented", name)
		}
	}
}
