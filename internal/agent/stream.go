package agent

import (
	"time"

	"github.com/hearth-run/hearth/internal/instance"
)

// stream carries a streamed response to its sink, or collects it when the
// caller takes none.
type stream struct {
	sink     instance.Sink
	answer   *answer
	rate     int64 // bytes a second after the first unpaced bytes, or 0
	began    time.Time
	size     int64
	begun    bool
	refused  bool // the caller is gone, or the limit was reached
	exceeded bool // the limit was reached
}

// unpaced is how much of a response AWS sends at full speed.
const unpaced = 6 << 20

func newStream(contentType string, sink instance.Sink, rate int64) *stream {
	return &stream{sink: sink, rate: rate, answer: &answer{contentType: contentType, streamed: sink != nil}}
}

func (s *stream) begin() {
	if s.sink != nil && !s.begun {
		s.begun = true
		s.began = time.Now()
		if s.sink.Begin(s.answer.contentType) != nil {
			s.refused = true
		}
	}
}

func (s *stream) write(b []byte) {
	if s.refused {
		return
	}
	limit := instance.MaxResponseSize
	if s.sink != nil {
		limit = instance.MaxStreamedSize
	}
	if s.size += int64(len(b)); s.size > int64(limit) {
		s.refused, s.exceeded = true, true
		s.fail(typeTooLarge, tooLarge(limit))
		return
	}
	if s.sink == nil {
		s.answer.payload = append(s.answer.payload, b...)
		return
	}
	s.begin()
	if s.rate > 0 && s.size > unpaced {
		due := s.began.Add(time.Duration(float64(s.size-unpaced) / float64(s.rate) * float64(time.Second)))
		time.Sleep(time.Until(due))
	}
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
	s.answer.size = s.size
	return s.answer
}
