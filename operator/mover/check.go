package mover

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/broletto/broletto/operator/move"
)

const (
	// askEvery is how long a question rests that was not answered as it should be.
	askEvery = 2 * time.Second
	// askPatience bounds one answer, answerLimit its content that is read and headerLimit what comes before, in bytes.
	askPatience = 10 * time.Second
	answerLimit = 1 << 20
	headerLimit = 64 << 10
)

// check asks until the answer is right or the time is over. It follows no redirect: whoever answers does not choose whom we ask next. Nor does it
// verify certificates: they came from the backup and bear the names of the original, which this service has not. We send nothing that is secret.
func (s *session) check(ctx context.Context) error {
	q := s.order.Question
	asker := &http.Client{
		Timeout: askPatience,
		Transport: &http.Transport{ // and no proxy
			DisableKeepAlives: true, MaxResponseHeaderBytes: headerLimit,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	end := time.Now().Add(time.Duration(q.Seconds) * time.Second)
	for {
		err := s.ask(ctx, asker, q)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Until(end) < askEvery {
			return as(move.FailureAnswer, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(askEvery):
		}
	}
}

// ask asks once.
func (s *session) ask(ctx context.Context, asker *http.Client, q *move.Question) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, q.URL, nil)
	if err != nil {
		return as(move.FailureOrder, err)
	}
	request.Header.Set("User-Agent", "broletto-mover")
	answer, err := asker.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != q.Status {
		return fmt.Errorf("GET %s is answered with %d, not %d", q.URL, answer.StatusCode, q.Status)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(answer.Body, answerLimit))
	if err != nil {
		return errors.Join(fmt.Errorf("GET %s: the answer breaks off after %d bytes", q.URL, n), err)
	}
	s.progress.mu.Lock()
	defer s.progress.mu.Unlock()
	s.report.Bytes = n
	return nil
}
