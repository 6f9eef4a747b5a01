package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// EventStreamType is the content type of event streams.
const EventStreamType = "application/vnd.amazon.eventstream"

// EventHeader is a string header of an event stream's message.
type EventHeader struct{ Name, Value string }

// AppendEvent appends a message of an event stream: a length-prefixed frame of
// headers and payload, with a CRC-32 of its first eight bytes and one of the whole.
//
// https://smithy.io/2.0/aws/amazon-eventstream.html
func AppendEvent(b []byte, payload []byte, headers ...EventHeader) []byte {
	const stringType = 7
	start := len(b)
	var prelude [12]byte
	b = append(b, prelude[:]...)
	for _, h := range headers {
		b = append(b, byte(len(h.Name)))
		b = append(b, h.Name...)
		b = append(b, stringType)
		b = binary.BigEndian.AppendUint16(b, uint16(len(h.Value)))
		b = append(b, h.Value...)
	}
	headersLen := len(b) - start - len(prelude)
	b = append(b, payload...)
	frame := b[start:]
	binary.BigEndian.PutUint32(frame[0:], uint32(len(frame)+4))
	binary.BigEndian.PutUint32(frame[4:], uint32(headersLen))
	binary.BigEndian.PutUint32(frame[8:], crc32.ChecksumIEEE(frame[:8]))
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(frame))
}

// AppendTyped appends an event named name. contentType is the payload's:
// "application/json", "application/octet-stream", or "" for none.
func AppendTyped(b []byte, name, contentType string, payload []byte) []byte {
	headers := []EventHeader{{":event-type", name}, {":content-type", contentType}, {":message-type", "event"}}
	if contentType == "" {
		headers = []EventHeader{headers[0], headers[2]}
	}
	return AppendEvent(b, payload, headers...)
}

// AppendException appends an exception, which ends a stream.
func AppendException(b []byte, code string, payload []byte) []byte {
	return AppendEvent(b, payload, EventHeader{":exception-type", code},
		EventHeader{":content-type", "application/json"}, EventHeader{":message-type", "exception"})
}
