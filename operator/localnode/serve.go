package localnode

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// listen serves logs to the API server, and to nobody else: it knows it by its certificate.
func (n *Node) listen(run context.Context) error {
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(n.Authority) {
		return errors.New("no certificate in the authority of clients")
	}
	var err error
	if n.listener, err = (&net.ListenConfig{}).Listen(run, "tcp4", loopback+":0"); err != nil {
		return fmt.Errorf("listening for requests of logs: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.serveLog)
	server := &http.Server{
		Handler: n.known(mux), ReadHeaderTimeout: 10 * time.Second, ErrorLog: stdlog.New(io.Discard, "", 0),
		BaseContext: func(net.Listener) context.Context { return run },
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{n.Serving}, ClientCAs: authorities, ClientAuth: tls.RequireAndVerifyClientCert,
		},
	}
	n.task(func() {
		if err := server.ServeTLS(n.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			n.Log.Error(err, "logs no longer served")
		}
	})
	n.task(func() {
		<-run.Done()
		_ = server.Close() // nobody waits for a log of a node that ends
	})
	return nil
}

// known lets the API server in.
func (n *Node) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.TLS.PeerCertificates[0].Subject.CommonName; name != n.ClientName {
			http.Error(w, "only the API server may ask", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveLog answers what `kubectl logs` asks, with the parameters of a kubelet.
func (n *Node) serveLog(w http.ResponseWriter, r *http.Request) {
	o, exists, err := n.mine.GetByKey(r.PathValue("namespace") + "/" + r.PathValue("pod"))
	pod, isPod := o.(*corev1.Pod)
	if err != nil || !exists || !isPod || r.PathValue("container") != Container {
		http.Error(w, "no such container on this node", http.StatusNotFound)
		return
	}
	view, err := parseView(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f, err := os.Open(n.logFile(pod.UID))
	if err != nil {
		http.Error(w, "the container has written no log yet", http.StatusNotFound)
		return
	}
	defer func() { _ = f.Close() }() // it was only read
	n.mutex.Lock()
	book := n.logs[pod.UID]
	n.mutex.Unlock()
	w.Header().Set("Content-Type", "text/plain")
	view.copy(r.Context(), w, f, book)
}

// view is what of a log is asked for.
type view struct {
	follow, times bool
	tail, limit   int64 // -1: all
	since         time.Time
}

func parseView(q url.Values) (v view, err error) {
	v = view{tail: -1, limit: -1}
	if previous, _ := strconv.ParseBool(q.Get("previous")); previous {
		return v, errors.New("the container was never started before: leave previous out")
	}
	v.follow, _ = strconv.ParseBool(q.Get("follow"))    // absent: no
	v.times, _ = strconv.ParseBool(q.Get("timestamps")) // the same
	var seconds int64 = -1
	for name, value := range map[string]*int64{"tailLines": &v.tail, "limitBytes": &v.limit, "sinceSeconds": &seconds} {
		if text := q.Get(name); text != "" {
			if *value, err = strconv.ParseInt(text, 10, 64); err != nil || *value < 0 {
				return v, fmt.Errorf("%s %q is no number", name, text)
			}
		}
	}
	if seconds >= 0 {
		v.since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		if v.since, err = time.Parse(time.RFC3339, text); err != nil {
			return v, fmt.Errorf("sinceTime %q is no time", text)
		}
	}
	return v, nil
}

// copy sends what there is, then what comes if that is asked for. The news are asked for before the file is read, so nothing is missed.
func (v *view) copy(ctx context.Context, w http.ResponseWriter, f io.Reader, book *logbook) {
	var rest []byte
	for first := true; ; first = false {
		var more <-chan struct{}
		over := true
		if book != nil {
			more, over = book.news()
		}
		text, err := io.ReadAll(f) // bounded by maxLog
		if err != nil {
			return
		}
		rest = append(rest, text...)
		end := bytes.LastIndexByte(rest, '\n') + 1
		lines := rest[:end]
		rest = bytes.Clone(rest[end:])
		if first && v.tail >= 0 {
			lines = lastLines(lines, v.tail)
		}
		if done := v.send(w, lines); done || over || !v.follow {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-more:
		}
	}
}

// send writes lines; done: nobody wants more.
func (v *view) send(w io.Writer, lines []byte) (done bool) {
	for line := range bytes.Lines(lines) {
		stamp, text, ok := bytes.Cut(line, []byte(" "))
		if !ok {
			continue
		}
		if !v.since.IsZero() {
			if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err != nil || at.Before(v.since) {
				continue
			}
		}
		if v.times {
			text = line
		}
		if v.limit >= 0 {
			text = text[:min(int64(len(text)), v.limit)]
			v.limit -= int64(len(text))
		}
		if _, err := w.Write(text); err != nil || v.limit == 0 {
			return true
		}
	}
	return false
}

// lastLines are the last of some whole lines.
func lastLines(lines []byte, count int64) []byte {
	for i, b := range slices.Backward(lines) {
		if b == '\n' {
			if count == 0 {
				return lines[i+1:]
			}
			count--
		}
	}
	return lines
}
