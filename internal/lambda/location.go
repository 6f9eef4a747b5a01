package lambda

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"github.com/hearth-run/hearth/internal/awsapi"
	"github.com/hearth-run/hearth/internal/code"
)

func utf16s(s string) []uint16 { return utf16.Encode([]rune(s)) }

// CodePath is where Downloads serves archives.
const CodePath = "/_hearth/code/"

// linkLife is how long a download link works, as on AWS.
const linkLife = 10 * time.Minute

// links holds the secret that signs download links. It is the database's, so that all
// servers which share that take each other's links, and links outlive a restart.
type links struct {
	mu     sync.Mutex
	secret []byte // guarded by mu; nil until it is needed
}

func (s *Service) linkSecret(ctx context.Context) ([]byte, error) {
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	if s.links.secret == nil {
		secret, err := s.cfg.Store.Secret(ctx, "code-links")
		if err != nil {
			return nil, s.failure(err)
		}
		s.links.secret = secret
	}
	return s.links.secret, nil
}

func sign(secret []byte, hash string, expires int64) string {
	m := hmac.New(sha256.New, secret)
	io.WriteString(m, hash+"\n"+itoa(expires))
	return hex.EncodeToString(m.Sum(nil))
}

// location returns a link from which the archive can be downloaded for a while,
// at the address by which the client reached this server.
func (s *Service) location(ctx context.Context, hash string) (string, error) {
	secret, err := s.linkSecret(ctx)
	if err != nil {
		return "", err
	}
	expires := time.Now().Add(linkLife).Unix()
	q := url.Values{"X-Hearth-Expires": {itoa(expires)}, "X-Hearth-Signature": {sign(secret, hash, expires)}}
	return awsapi.RequestFrom(ctx).BaseURL + CodePath + hash + "?" + q.Encode(), nil
}

// Downloads returns the handler of the links that GetFunction and the layer
// operations give; it belongs at CodePath.
func (s *Service) Downloads() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		secret, err := s.linkSecret(r.Context())
		if err != nil {
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
			return
		}
		hash := strings.TrimPrefix(r.URL.Path, CodePath)
		expires, err := strconv.ParseInt(r.URL.Query().Get("X-Hearth-Expires"), 10, 64)
		if err != nil || !hmac.Equal([]byte(r.URL.Query().Get("X-Hearth-Signature")), []byte(sign(secret, hash, expires))) {
			http.Error(w, "the signature does not match", http.StatusForbidden)
			return
		}
		if time.Now().Unix() > expires {
			http.Error(w, "the link has expired", http.StatusForbidden)
			return
		}
		body, size, err := s.cfg.Code.Reader(r.Context(), hash)
		if errors.Is(err, code.ErrNotFound) {
			http.NotFound(w, r)
			return
		}
		if err != nil {
			s.log.Error("code not served", "hash", hash, "err", err)
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
			return
		}
		defer body.Close()
		w.Header().Set("Content-Type", "application/zip")
		w.Header().Set("Content-Length", itoa(size))
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			_, _ = io.Copy(w, body) // a client that went away is no news
		}
	})
}
