package agent

import (
	"encoding/base64"
	"fmt"

	"github.com/hearth-run/hearth/internal/instance"
)

// stream carries a streamed response to its sink, or collects it when the
// caller takes none.
type stream struct {
	sink    instance.Sink
	answer  *answer
	size    int64
	begun   bool
	refused bool // the caller is gone, or the limit was reached
}

func newStream(contentType string, sink instance.Sink) *stream {
	return &stream{sink: sink, answer: &answer{contentType: contentType, streamed: sink != nil}}
}

func (s *stream) begin() {
	if s.sink != nil && !s.begun {
		s.begun = true
		if s.sink.Begin(s.answer.contentType) != nil {
			s.refused = true
		}
	}
}

func (s *stream) write(b []byte) {
	if s.refused {
		return
	}
	limit := int64(instance.MaxResponseSize)
	if s.sink != nil {
		limit = instance.MaxStreamedSize
	}
	if s.size += int64(len(b)); s.size > limit {
		s.refused = true
		s.fail("Function.ResponseSizeTooLarge", tooLarge())
		return
	}
	if s.sink == nil {
		s.answer.payload = append(s.answer.payload, b...)
		return
	}
	s.begin()
	if _, err := s.sink.Write(b); err != nil {
		s.refused = true
	}
}

// fail notes that the response broke.
func (s *stream) fail(errorType string, payload []byte) {
	if s.answer.errorType != "" {
		return
	}
	s.answer.errorType = errorType
	if s.sink == nil || !s.begun {
		s.answer.payload, s.answer.streamed = payload, false
		return
	}
	s.answer.message = payload
}

func (s *stream) finish() *answer {
	if s.answer.errorType == "" {
		s.begin()
	}
	return s.answer
}

func tooLarge() []byte {
	return errorJSON("Function.ResponseSizeTooLarge",
		fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", instance.MaxResponseSize))
}

func decodeBase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return []byte(s)
	}
	return b
}
