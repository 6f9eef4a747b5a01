// Command function is the bootstrap that the suite of package backendtest
// deploys: a client of the Runtime API that does what each event asks for.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Ask is an event.
type Ask struct {
	Do   string // what to do
	Path string
	Text string
	N    int
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "linger" {
		time.Sleep(time.Hour)
		return
	}
	if _, err := os.Stat(os.Getenv("LAMBDA_TASK_ROOT") + "/fail"); err == nil {
		fmt.Println("this bootstrap fails on purpose")
		os.Exit(5)
	}
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		res, err := http.Get(api + "next")
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		id := res.Header.Get("Lambda-Runtime-Aws-Request-Id")
		var ask Ask
		kind, answer := "response", any(nil)
		if err := json.Unmarshal(body, &ask); err == nil {
			answer, err = do(ask)
			if err != nil {
				kind, answer = "error", map[string]string{"errorType": "Function.Error", "errorMessage": err.Error()}
			}
		}
		b, _ := json.Marshal(answer)
		res, err = http.Post(api+id+"/"+kind, "application/json", bytes.NewReader(b))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		res.Body.Close()
	}
}

func do(a Ask) (any, error) {
	switch a.Do {
	case "print":
		fmt.Println(a.Text)
		return a.Text, nil
	case "env":
		env := map[string]string{}
		for _, e := range os.Environ() {
			k, v, _ := strings.Cut(e, "=")
			env[k] = v
		}
		return env, nil
	case "dir":
		return os.Getwd()
	case "read":
		b, err := os.ReadFile(os.ExpandEnv(a.Path))
		return string(b), err
	case "write":
		return nil, os.WriteFile(os.ExpandEnv(a.Path), []byte(a.Text), 0o644)
	case "sleep":
		time.Sleep(time.Duration(a.N) * time.Millisecond)
		return "slept", nil
	case "exit":
		os.Exit(a.N)
	case "alloc":
		var kept [][]byte
		for range a.N {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			kept = append(kept, b)
		}
		return len(kept), nil
	case "linger":
		cmd := exec.Command(os.Args[0], "linger", a.Text)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return nil, cmd.Start()
	case "temp":
		return os.TempDir(), nil
	}
	return nil, fmt.Errorf("cannot do %q", a.Do)
}
