// Command gofunction is a function for a provided runtime: it answers each
// event with itself, with nothing but the standard library.
package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
)

func main() {
	base := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		r, err := http.Get(base + "next")
		if err != nil {
			os.Exit(1)
		}
		event, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			os.Exit(1)
		}
		a, err := http.Post(base+r.Header.Get("Lambda-Runtime-Aws-Request-Id")+"/response", "application/json", bytes.NewReader(event))
		if err != nil {
			os.Exit(1)
		}
		io.Copy(io.Discard, a.Body)
		a.Body.Close()
	}
}
