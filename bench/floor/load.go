package floor

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Figures are what a load run measured.
type Figures struct {
	P50, P99 time.Duration
	Rate     float64 // answers per second
	N        int
}

// Load sends payload to url from that many clients, each with its own kept
// connection, for about as long as said.
func Load(url string, payload []byte, clients int, long time.Duration) (Figures, error) {
	times := make([][]time.Duration, clients)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	began := time.Now()
	for c := range clients {
		wg.Go(func() {
			transport := &http.Transport{MaxIdleConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for time.Since(began) < long {
				start := time.Now()
				r, err := client.Post(url, "application/json", bytes.NewReader(payload))
				if err != nil {
					errs[c] = err
					return
				}
				body, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != http.StatusOK || r.Header.Get("X-Amz-Function-Error") != "" {
					errs[c] = fmt.Errorf("%s: %s: %s %v", url, r.Status, body, err)
					return
				}
				times[c] = append(times[c], time.Since(start))
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	for _, err := range errs {
		if err != nil {
			return Figures{}, err
		}
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return Figures{P50: all[len(all)/2], P99: all[len(all)*99/100], Rate: float64(len(all)) / took.Seconds(), N: len(all)}, nil
}

// Median returns the median of n runs of f.
func Median(n int, f func() (time.Duration, error)) (time.Duration, error) {
	times := make([]time.Duration, n)
	for i := range times {
		var err error
		if times[i], err = f(); err != nil {
			return 0, err
		}
	}
	slices.Sort(times)
	return times[n/2], nil
}
