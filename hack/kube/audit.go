package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// auditPolicy logs every request once, with what was asked and by whom, without bodies. A watch counts when it
// begins: its end may be far, or never be logged. Probes of the server's health are left out.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/livez*", "/readyz*", "/healthz*"]
- level: Metadata
  verbs: [watch]
  omitStages: [RequestReceived, ResponseComplete]
- level: Metadata
`

// AuditEvent is one request to the API server, as its audit log has it.
type AuditEvent struct {
	Time        time.Time // when the request came in
	User        string
	Credential  string // what the user is known by, as "JTI=..."; several by spaces
	UserAgent   string
	Verb        string // get, list, watch, create, update, patch, delete, deletecollection
	RequestURI  string
	Group       string
	Resource    string // empty for a URL that is not a resource's
	Subresource string
	Namespace   string
	Name        string
	Code        int    // HTTP status
	Forbidden   bool   // for want of a right, not by a quota or another rule
	Stage       string // ResponseComplete; ResponseStarted for a watch; Panic
	// Annotations are what authorization and admission noted, for example an admission policy under <policy>/<key>.
	Annotations map[string]string
}

// Mutating says whether the request asked for a change of stored objects, granted or not. Dry runs do not, nor do
// the reviews and tokens that clients create only to get an answer.
func (e AuditEvent) Mutating() bool {
	switch e.Verb {
	case "update", "patch", "delete", "deletecollection":
	case "create":
		if e.Group == "authentication.k8s.io" || e.Group == "authorization.k8s.io" || e.Subresource == "token" {
			return false
		}
	default:
		return false
	}
	return e.Resource != "" && !strings.Contains(e.RequestURI, "dryRun=All")
}

// ReadAudit returns the requests that the log at path has from offset on, and the offset to continue at. A line that
// is still being written is left for the next call. The API server logs a request when it has answered it, so
// a client may be a moment ahead of the log.
func ReadAudit(path string, offset int64) ([]AuditEvent, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, offset, nil // no request yet
	}
	if err != nil {
		return nil, offset, err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, offset, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, offset, err
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	var events []AuditEvent
	for line := range bytes.Lines(data) {
		var e auditLine
		if err := json.Unmarshal(line, &e); err != nil {
			return events, offset, fmt.Errorf("%s at byte %d: %w", path, offset, err)
		}
		offset += int64(len(line))
		events = append(events, e.event())
	}
	return events, offset, nil
}

// auditLine is the part of audit.k8s.io/v1 Event that we read.
type auditLine struct {
	Stage      string `json:"stage"`
	RequestURI string `json:"requestURI"`
	Verb       string `json:"verb"`
	User       struct {
		Username string              `json:"username"`
		Extra    map[string][]string `json:"extra"`
	} `json:"user"`
	UserAgent string `json:"userAgent"`
	ObjectRef struct {
		APIGroup    string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Annotations              map[string]string `json:"annotations"`
	RequestReceivedTimestamp time.Time         `json:"requestReceivedTimestamp"`
}

func (l auditLine) event() AuditEvent {
	return AuditEvent{
		Time:        l.RequestReceivedTimestamp,
		User:        l.User.Username,
		Credential:  strings.Join(l.User.Extra["authentication.kubernetes.io/credential-id"], " "),
		UserAgent:   l.UserAgent,
		Verb:        l.Verb,
		RequestURI:  l.RequestURI,
		Group:       l.ObjectRef.APIGroup,
		Resource:    l.ObjectRef.Resource,
		Subresource: l.ObjectRef.Subresource,
		Namespace:   l.ObjectRef.Namespace,
		Name:        l.ObjectRef.Name,
		Code:        l.ResponseStatus.Code,
		Forbidden:   l.Annotations["authorization.k8s.io/decision"] == "forbid",
		Stage:       l.Stage,
		Annotations: l.Annotations,
	}
}
