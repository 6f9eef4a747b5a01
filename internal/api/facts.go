package api

import (
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/hearth-run/hearth/internal/arn"
	"github.com/hearth-run/hearth/internal/awsapi"
)

// facts finds out who asks, for which region, and of which service, as far as
// the signature says. Signatures are not verified here.
func (h *Handler) facts(r *http.Request) (f awsapi.Request, service string) {
	key, region, service := credential(r)
	f = awsapi.Request{ID: newID(), AccessKeyID: key, AccountID: h.cfg.AccountID, Region: h.cfg.Region, Partition: "aws"}
	if arn.IsAccountID(key) {
		f.AccountID = key
	}
	if arn.IsRegion(region) {
		f.Region = region
	}
	f.Partition = arn.PartitionOf(f.Region)
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	f.BaseURL = scheme + r.Host
	return f, service
}

// credential takes a request's signature apart:
// access key ID, date, region, service and "aws4_request", divided by slashes.
func credential(r *http.Request) (key, region, service string) {
	scope := ""
	if auth := r.Header.Get("Authorization"); auth != "" {
		_, scope, _ = strings.Cut(auth, "Credential=")
		if i := strings.IndexAny(scope, ", "); i >= 0 {
			scope = scope[:i]
		}
	} else if strings.Contains(r.URL.RawQuery, "X-Amz-Credential=") {
		scope = r.URL.Query().Get("X-Amz-Credential")
	}
	// An access key ID may hold slashes; the scope behind it does not.
	parts := strings.Split(scope, "/")
	if n := len(parts); n >= 5 {
		return strings.Join(parts[:n-4], "/"), parts[n-3], parts[n-2]
	}
	return "", "", ""
}

// newID returns a random UUID. It need not be hard to guess.
func newID() string {
	const digits = "0123456789abcdef"
	high, low := rand.Uint64(), rand.Uint64()
	high = high&^0xf000 | 0x4000
	low = low&^(3<<62) | 2<<62
	b := make([]byte, 0, 36)
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			b = append(b, '-')
		}
		v := high
		if i >= 16 {
			v = low
		}
		b = append(b, digits[v>>(4*(15-i%16))&15])
	}
	return string(b)
}

// checkSite refuses what a web page of another site may have sent: a name that
// somebody made point to this server, or a request from a page that is not the server's own.
func (h *Handler) checkSite(r *http.Request) error {
	if r.Host != "" && !h.known(hostname(r.Host)) {
		return denied("The host name " + hostname(r.Host) + " is not one of this server's. Use localhost or an IP address, or add the name to the server's hosts.")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" {
		return denied("Requests from pages of other web sites are refused.")
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !h.known(u.Hostname()) {
			return denied("Requests from pages of other web sites are refused; this one comes from " + origin + ".")
		}
	}
	return nil
}

func denied(message string) error {
	return &awsapi.Error{Code: "AccessDeniedException", Status: http.StatusForbidden, Message: message}
}

// known says whether name is one under which the server is reached. CloudWatch
// Logs' clients put "stream-" before the host for some operations.
func (h *Handler) known(name string) bool {
	for range 2 {
		lower := strings.ToLower(strings.TrimSuffix(name, "."))
		if lower == "localhost" || strings.HasSuffix(lower, ".localhost") || h.hosts[lower] {
			return true
		}
		if _, err := netip.ParseAddr(lower); err == nil {
			return true
		}
		name = strings.TrimPrefix(lower, "stream-")
	}
	return false
}

// hostname is a host without its port.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
