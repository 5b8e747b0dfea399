package kube

import (
	"fmt"
	"io"
	"time"
)

// progress tells a person what we are doing, one line per step, with the seconds since the beginning.
type progress struct {
	w     io.Writer
	begun time.Time
}

func newProgress(w io.Writer) *progress {
	if w == nil {
		w = io.Discard
	}
	return &progress{w: w, begun: time.Now()}
}

func (p *progress) say(format string, args ...any) {
	fmt.Fprintf(p.w, "%6.1fs  %s\n", time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...))
}
