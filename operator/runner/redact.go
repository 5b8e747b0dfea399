package runner

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// shortest is of how many bytes a secret has to be to be looked for: below, it would stand everywhere.
	shortest = 4
	// shortestLine is the same for one line of a secret with several, which engines print with each line indented.
	shortestLine = 8
	// longest bounds the secrets that are looked for in every form; of longer ones, some forms only: each costs their length in memory.
	longest = 16 << 10
	// mask stands where a secret stood.
	mask = "***"
)

// redactor finds secrets in what it is given, as they are and in the forms that code gives to them.
type redactor struct {
	mu     sync.RWMutex
	known  map[string]bool
	byHead map[uint32][][]byte // by their first four bytes
	heads  map[string]bool     // what the first one, two or three bytes of a form may be
}

func newRedactor() *redactor {
	return &redactor{known: map[string]bool{}, byHead: map[uint32][][]byte{}, heads: map[string]bool{}}
}

// addJSON adds an input: a text, or all texts and numbers in it.
func (r *redactor) addJSON(raw json.RawMessage) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		r.add(string(raw))
		return
	}
	r.addValue(v)
}

func (r *redactor) addValue(v any) {
	switch v := v.(type) {
	case string:
		r.add(v)
		if nested := strings.TrimSpace(v); strings.HasPrefix(nested, "{") && json.Valid([]byte(nested)) {
			r.addJSON(json.RawMessage(nested)) // such as a key file of a cloud: its code prints a field of it
		}
	case json.Number:
		r.add(v.String())
	case []any:
		for _, e := range v {
			r.addValue(e)
		}
	case map[string]any:
		for _, e := range v {
			r.addValue(e)
		}
	}
}

// add adds a secret text.
func (r *redactor) add(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addForms(secret)
	trimmed := strings.TrimSpace(secret)
	r.addForms(trimmed)
	if lines := strings.Split(trimmed, "\n"); len(lines) > 1 {
		for _, line := range lines {
			// A PEM block's frame is no secret, and stands in many a log.
			if line = strings.TrimSpace(line); len(line) >= shortestLine && !strings.HasPrefix(line, "-----") {
				r.addForms(line)
			}
		}
	}
}

func (r *redactor) addForms(secret string) {
	if len(secret) < shortest || r.known[secret] {
		return
	}
	for _, form := range forms(secret) {
		if len(form) < shortest || r.known[form] {
			continue
		}
		r.known[form] = true
		head := binary.BigEndian.Uint32([]byte(form))
		r.byHead[head] = append(r.byHead[head], []byte(form))
		for n := 1; n < shortest; n++ {
			r.heads[form[:n]] = true
		}
	}
}

func forms(secret string) []string {
	quoted := strconv.Quote(secret)
	out := []string{secret, quoted[1 : len(quoted)-1], jsonForm(secret, true), jsonForm(secret, false), base64.StdEncoding.EncodeToString([]byte(secret))}
	if len(secret) > longest {
		return out
	}
	lower := hex.EncodeToString([]byte(secret))
	out = append(out, lower, strings.ToUpper(lower), url.QueryEscape(secret), url.PathEscape(secret))
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // bytes before the secret in what is encoded, modulo three
			text := e.EncodeToString(append(make([]byte, before), secret...))
			if (before+len(secret))%3 != 0 {
				text = text[:len(text)-1] // it holds bits of what follows
			}
			out = append(out, text[[]int{0, 2, 3}[before]:])
		}
	}
	return out
}

func jsonForm(secret string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	_ = e.Encode(secret) // a text can be encoded, and a buffer written to
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(b.String(), "\n"), `"`), `"`)
}

// Text is a text without secrets.
func (r *redactor) Text(text string) string {
	out, _ := r.scan([]byte(text), true)
	return string(out)
}

// scan gives back what may be shown of a text, and what has to wait for more: the beginning of a secret, it may be. Where secrets overlap,
// all of them go.
func (r *redactor) scan(text []byte, last bool) (out, rest []byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	start, end, shown := 0, 0, 0 // of the covered stretch, and how much is done with
	for i := range text {
		n, more := r.match(text[i:])
		if more && !last {
			if i < end {
				i = start
			} else if end > shown {
				out, shown = append(out, mask...), end
			}
			return append(out, text[shown:i]...), slices.Clone(text[i:])
		}
		if n == 0 {
			continue
		}
		if i >= end { // a stretch of its own
			if end > shown {
				out, shown = append(out, mask...), end
			}
			out, shown = append(out, text[shown:i]...), i
			start = i
		}
		end = max(end, i+n)
	}
	if end > shown {
		out, shown = append(out, mask...), end
	}
	return append(out, text[shown:]...), nil
}

// match says how much of the text's beginning is a secret, and whether it may become one, or a longer one, with more text behind it.
func (r *redactor) match(text []byte) (n int, more bool) {
	if len(text) < shortest {
		return 0, r.heads[string(text)]
	}
	for _, form := range r.byHead[binary.BigEndian.Uint32(text)] {
		if bytes.HasPrefix(text, form) {
			n = max(n, len(form))
		} else if len(text) < len(form) && bytes.HasPrefix(form, text) {
			more = true
		}
	}
	return n, more
}

// redacting is a writer of what may be shown. Not more than a bound is, and a last line says what was left out.
type redacting struct {
	mu   sync.Mutex
	r    *redactor
	to   io.Writer
	left int
	full bool
	held []byte
}

func newRedacting(r *redactor, to io.Writer, bound int) *redacting {
	return &redacting{r: r, to: to, left: bound}
}

// Write never fails: an engine would take it for its own failure.
func (w *redacting) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full {
		return len(p), nil
	}
	out, rest := w.r.scan(append(w.held, p...), false)
	w.held = rest
	w.show(out)
	return len(p), nil
}

// Flush shows what was held back.
func (w *redacting) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	out, _ := w.r.scan(w.held, true)
	w.held = nil
	w.show(out)
}

func (w *redacting) show(out []byte) {
	if w.full || len(out) == 0 {
		return
	}
	if w.full = len(out) > w.left; w.full {
		out = append(out[:w.left:w.left], "\n[the log is longer than the runner shows: the rest is left out]\n"...)
	} else {
		w.left -= len(out)
	}
	_, _ = w.to.Write(out)
}
