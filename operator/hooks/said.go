package hooks

import (
	"strconv"
	"strings"
	"sync"
	"unicode"
)

const (
	// remembered is how much of what a command prints is kept, in bytes, from the end.
	remembered = 4 << 10
	// lineLength is how much of its last line is told, in characters.
	lineLength = 200
)

// said takes what a command prints to both of its outputs. It keeps the end, and calls over once when it is more than limit bytes.
type said struct {
	limit int
	over  func()

	mu    sync.Mutex
	total int
	end   []byte
}

// Write implements io.Writer.
func (s *said) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total <= s.limit && s.total+len(text) > s.limit {
		s.over()
	}
	s.total += len(text)
	s.end = append(s.end, text[max(0, len(text)-remembered):]...)
	s.end = append(s.end[:0], s.end[max(0, len(s.end)-remembered):]...)
	return len(text), nil
}

// String is ": " and the last line that is not empty, quoted; or nothing.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(s.end), ""))
	line := strings.TrimSpace(text[strings.LastIndexAny(text, "\r\n")+1:])
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line)
	if runes := []rune(line); len(runes) > lineLength {
		line = string(runes[:lineLength]) + "…"
	}
	if line == "" {
		return ""
	}
	return ": " + strconv.Quote(line)
}
