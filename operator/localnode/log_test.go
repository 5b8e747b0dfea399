package localnode

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// book is a log of a node that is not started.
func book(t *testing.T) (*logbook, string) {
	t.Helper()
	n := &Node{Options: Options{Dir: t.TempDir()}, logs: map[types.UID]*logbook{}}
	if err := os.Mkdir(n.path("logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := n.openLog("uid")
	if err != nil {
		t.Fatal(err)
	}
	return l, n.logFile("uid")
}

// read is what a request for a log gets.
func read(t *testing.T, file string, l *logbook, query string) string {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	v, err := parseView(q)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), aWhile)
	defer cancel()
	w := httptest.NewRecorder()
	v.copy(ctx, w, f, l)
	return w.Body.String()
}

func TestLogViews(t *testing.T) {
	l, file := book(t)
	fmt.Fprint(l, "one\ntw", "o\n\nthree")
	l.end()
	for query, want := range map[string]string{
		"":                               "one\ntwo\n\nthree\n",
		"tailLines=2":                    "\nthree\n",
		"tailLines=0":                    "",
		"tailLines=99":                   "one\ntwo\n\nthree\n",
		"limitBytes=5":                   "one\nt",
		"sinceSeconds=3600&follow=1":     "one\ntwo\n\nthree\n",
		"sinceTime=2100-01-01T00:00:00Z": "",
	} {
		if got := read(t, file, l, query); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	stamp, text, _ := strings.Cut(strings.TrimSpace(read(t, file, nil, "timestamps=true&tailLines=1")), " ")
	if at, err := time.Parse(time.RFC3339Nano, stamp); err != nil || text != "three" || time.Since(at) > time.Hour {
		t.Errorf("a line with its time is %q %q: %v", stamp, text, err)
	}
	for _, query := range []string{"previous=true", "tailLines=x", "limitBytes=-1", "sinceTime=yesterday"} {
		q, _ := url.ParseQuery(query)
		if _, err := parseView(q); err == nil {
			t.Errorf("%s is taken", query)
		}
	}
}

func TestLogIsFollowedToItsEnd(t *testing.T) {
	l, file := book(t)
	fmt.Fprintln(l, "first")
	got := make(chan string)
	go func() { got <- read(t, file, l, "follow=true") }()
	for i := range 100 {
		fmt.Fprintln(l, i)
	}
	l.end()
	if text := <-got; !strings.HasPrefix(text, "first\n0\n") || !strings.HasSuffix(text, "\n99\n") || strings.Count(text, "\n") != 101 {
		t.Errorf("followed %q", text)
	}
}

func TestLogIsBounded(t *testing.T) {
	l, file := book(t)
	chunk := bytes.Repeat([]byte("x"), 1<<20) // a line that never ends
	for range 6 {
		if n, err := l.Write(chunk); n != len(chunk) || err != nil {
			t.Fatalf("it takes %d bytes: %v", n, err)
		}
	}
	l.end()
	text := read(t, file, l, "")
	if len(text) > maxLog+maxLine || !strings.HasSuffix(text, "the local node keeps no more of this log\n") {
		t.Errorf("%d bytes, ending in %q", len(text), text[len(text)-50:])
	}
}
