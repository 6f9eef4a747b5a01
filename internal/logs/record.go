package logs

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"github.com/hearth-run/hearth/internal/instance"
)

// A record in a segment:
//
//	uint32 length of what follows the sum
//	uint32 CRC-32C of that
//	 int64 time, ms
//	 int64 ingestion time, ms
//	uint8  kind
//	uint8  length of the request ID, and the request ID
//	       the message
const (
	recordHead  = 8
	recordFixed = 8 + 8 + 1 + 1
	maxMessage  = 1 << 20 // as CloudWatch's; longer ones are cut in pieces
	maxRecord   = recordFixed + 255 + maxMessage
	overhead    = 26 // bytes that CloudWatch counts for each event
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func nameHash(name string) [32]byte { return sha256.Sum256([]byte(name)) }

var kinds = []instance.LogKind{instance.LogFunction, instance.LogExtension, instance.LogPlatform}

func appendRecord(b []byte, at, ingested int64, kind instance.LogKind, requestID string, message []byte) []byte {
	requestID = requestID[:min(len(requestID), 255)]
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(recordFixed+len(requestID)+len(message)))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	b = binary.LittleEndian.AppendUint64(b, uint64(ingested))
	var k byte
	for i := range kinds {
		if kinds[i] == kind {
			k = byte(i)
		}
	}
	b = append(b, k, byte(len(requestID)))
	b = append(b, requestID...)
	b = append(b, message...)
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(b[start+recordHead:], castagnoli))
	return b
}

// record is a decoded one; its slices are of the buffer that it was read from.
type record struct {
	at, ingested int64
	kind         instance.LogKind
	requestID    []byte
	message      []byte
	size         int64 // in the file
}

var errTorn = errors.New("record is torn")

// parseRecord reads the record that b begins with. need > 0 says that b must
// be that long first.
func parseRecord(b []byte) (r record, need int, err error) {
	if len(b) < recordHead {
		return r, recordHead, nil
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < recordFixed || n > maxRecord {
		return r, 0, errTorn
	}
	if len(b) < recordHead+n {
		return r, recordHead + n, nil
	}
	body := b[recordHead : recordHead+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return r, 0, errTorn
	}
	r.at = int64(binary.LittleEndian.Uint64(body))
	r.ingested = int64(binary.LittleEndian.Uint64(body[8:]))
	k, idLen := int(body[16]), int(body[17])
	if k >= len(kinds) || recordFixed+idLen > n {
		return r, 0, errTorn
	}
	r.kind = kinds[k]
	r.requestID = body[recordFixed : recordFixed+idLen]
	r.message = body[recordFixed+idLen:]
	r.size = int64(recordHead + n)
	return r, 0, nil
}

// position is an event's place in the order of its group: by time, where
// a stream's times never go backwards, then by stream.
type position struct {
	sort   int64 // the latest time of its stream so far
	stream uint64
	seg    uint32
	off    int64
}

func (p position) compare(q position) int {
	switch {
	case p.sort != q.sort:
		return cmpInt(p.sort, q.sort)
	case p.stream != q.stream:
		if p.stream < q.stream {
			return -1
		}
		return 1
	case p.seg != q.seg:
		return cmpInt(int64(p.seg), int64(q.seg))
	}
	return cmpInt(p.off, q.off)
}

func cmpInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// id is p as the 56 digits of an event's ID.
func (p position) id() string {
	return fmt.Sprintf("%015d%020d%010d%011d", max(0, p.sort), p.stream, p.seg, p.off)
}

func parsePosition(s string) (p position, err error) {
	if len(s) != 56 {
		return p, ErrBadToken
	}
	var errs [4]error
	p.sort, errs[0] = strconv.ParseInt(s[:15], 10, 64)
	p.stream, errs[1] = strconv.ParseUint(s[15:35], 10, 64)
	seg, err := strconv.ParseUint(s[35:45], 10, 32)
	errs[2] = err
	p.seg = uint32(seg)
	p.off, errs[3] = strconv.ParseInt(s[45:], 10, 64)
	if errors.Join(errs[:]...) != nil {
		return p, ErrBadToken
	}
	return p, nil
}
