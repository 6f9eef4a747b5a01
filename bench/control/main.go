// Command control measures the control plane over HTTP, in one run beside
// moto's server where one is at hand, and prints the ratios:
//
//	go run ./bench/control [-functions 10000] [-hearth PATH] [-moto URL]
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/bench/floor"
)

var (
	functions = flag.Int("functions", 10_000, "how many functions there are in the end")
	path      = flag.String("hearth", "", "the executable to measure (default built from this tree)")
	moto      = flag.String("moto", os.Getenv("TESTBED_MOTO"), "URL of a moto server, which is compared if given")
	long      = flag.Duration("long", 2*time.Second, "how long each load runs")
)

const api = "/2015-03-31/functions"

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "control:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	h, err := floor.StartHearth(ctx, *path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()

	start := time.Now()
	for i := range 200 {
		if err := create(ctx, h.URL, fmt.Sprint("first", i)); err != nil {
			return err
		}
	}
	fmt.Printf("200 CreateFunction, one after another   %8.3f s\n", time.Since(start).Seconds())

	few, err := get(ctx, h.URL, "first0", 1)
	if err != nil {
		return err
	}
	start = time.Now()
	if err := parallel(16, *functions-200, func(i int) error { return create(ctx, h.URL, fmt.Sprintf("fn%05d", i)) }); err != nil {
		return err
	}
	fmt.Printf("CreateFunction, 16 clients              %8.0f /s\n", float64(*functions-200)/time.Since(start).Seconds())
	many, err := get(ctx, h.URL, "first0", 1)
	if err != nil {
		return err
	}
	fmt.Printf("GetFunction p50, 200 functions          %8.3f ms\n", few.p50.Seconds()*1000)
	fmt.Printf("GetFunction p50, %5d functions        %8.3f ms\n", *functions, many.p50.Seconds()*1000)
	page, err := load(ctx, 1, *long, func() error { return fetch(ctx, h.URL+api+"?MaxItems=50") })
	if err != nil {
		return err
	}
	fmt.Printf("ListFunctions, a page of 50, p50        %8.3f ms\n", page.p50.Seconds()*1000)

	if *moto == "" {
		return nil
	}
	// moto refuses to make functions without a role that it knows.
	if err := role(ctx, *moto); err != nil {
		return fmt.Errorf("moto: %w", err)
	}
	if err := there(create(ctx, *moto, "first0")); err != nil {
		return fmt.Errorf("moto: %w", err)
	}
	for _, clients := range []int{1, 4, 16} {
		ours, err := get(ctx, h.URL, "first0", clients)
		if err != nil {
			return err
		}
		theirs, err := get(ctx, *moto, "first0", clients)
		if err != nil {
			return fmt.Errorf("moto: %w", err)
		}
		fmt.Printf("GetFunction, %2d clients                 %8.0f /s, moto %.0f /s: %.1f times\n", clients, ours.rate, theirs.rate, ours.rate/theirs.rate)
	}
	return nil
}

// figures are the outcome of a load.
type figures struct {
	p50  time.Duration
	rate float64 // per second
}

func get(ctx context.Context, url, name string, clients int) (figures, error) {
	return load(ctx, clients, *long, func() error { return fetch(ctx, url+api+"/"+name) })
}

// load calls f from clients at once, for a while.
func load(_ context.Context, clients int, long time.Duration, f func() error) (figures, error) {
	var mu sync.Mutex
	var all []time.Duration
	var errs []error
	var wg sync.WaitGroup
	start := time.Now()
	for range clients {
		wg.Go(func() {
			var own []time.Duration
			for time.Since(start) < long {
				begin := time.Now()
				if err := f(); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					return
				}
				own = append(own, time.Since(begin))
			}
			mu.Lock()
			all = append(all, own...)
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(errs) > 0 || len(all) == 0 {
		return figures{}, errors.Join(errs...)
	}
	slices.Sort(all)
	return figures{p50: all[len(all)/2], rate: float64(len(all)) / time.Since(start).Seconds()}, nil
}

// parallel calls f with the numbers below n, from clients at once.
func parallel(clients, n int, f func(int) error) error {
	var next atomic.Int64
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for errs[c] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				errs[c] = f(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

func create(ctx context.Context, url, name string) error {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create("index.py")
	if err == nil {
		_, err = io.WriteString(f, "def handler(event, context): return '"+name+"'\n")
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"FunctionName": name, "Role": "arn:aws:iam::123456789012:role/bench", "Runtime": "python3.13", "Handler": "index.handler",
		"Code": map[string]string{"ZipFile": base64.StdEncoding.EncodeToString(b.Bytes())},
	})
	if err != nil {
		return err
	}
	return do(ctx, http.MethodPost, url+api, "lambda", "application/json", body)
}

func fetch(ctx context.Context, url string) error {
	return do(ctx, http.MethodGet, url, "lambda", "", nil)
}

func role(ctx context.Context, url string) error {
	const form = "Action=CreateRole&Version=2010-05-08&RoleName=bench&AssumeRolePolicyDocument=%7B%7D"
	return there(do(ctx, http.MethodPost, url+"/", "iam", "application/x-www-form-urlencoded", []byte(form)))
}

// there takes what is there from an earlier run as made.
func there(err error) error {
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusConflict {
		return nil
	}
	return err
}

type statusError struct {
	code int
	body string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.code, e.body) }

func do(ctx context.Context, method, url, service, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=00")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = &statusError{resp.StatusCode, string(b)}
	}
	return err
}
