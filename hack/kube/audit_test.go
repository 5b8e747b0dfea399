package kube

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

const auditSample = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete",` +
	`"requestURI":"/apis/apps/v1/namespaces/a/deployments/web/status?fieldManager=x","verb":"patch",` +
	`"user":{"username":"broletto","groups":["g"],"extra":{"authentication.kubernetes.io/credential-id":["JTI=1"]}},"userAgent":"broletto/v1",` +
	`"objectRef":{"resource":"deployments","namespace":"a","name":"web","apiGroup":"apps","apiVersion":"v1","subresource":"status"},` +
	`"responseStatus":{"metadata":{},"code":403},"annotations":{"authorization.k8s.io/decision":"forbid"},"requestReceivedTimestamp":"2026-01-02T03:04:05.000006Z"}` + "\n"

func TestReadAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if events, offset, err := ReadAudit(path, 0); len(events) != 0 || offset != 0 || err != nil {
		t.Errorf("got %v, %d, %v before the first request", events, offset, err)
	}
	write(t, path, auditSample+auditSample[:100], 0o600)
	events, offset, err := ReadAudit(path, 0)
	if err != nil || len(events) != 1 || offset != int64(len(auditSample)) {
		t.Fatalf("got %v, %d, %v; want the one whole line", events, offset, err)
	}
	want := AuditEvent{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), User: "broletto", Credential: "JTI=1", UserAgent: "broletto/v1", Verb: "patch",
		RequestURI: "/apis/apps/v1/namespaces/a/deployments/web/status?fieldManager=x", Group: "apps",
		Resource: "deployments", Subresource: "status", Namespace: "a", Name: "web", Code: 403, Forbidden: true, Stage: "ResponseComplete",
		Annotations: map[string]string{"authorization.k8s.io/decision": "forbid"},
	}
	if !reflect.DeepEqual(events[0], want) {
		t.Errorf("got  %+v\nwant %+v", events[0], want)
	}
	write(t, path, auditSample+auditSample, 0o600)
	if events, offset, err := ReadAudit(path, offset); err != nil || len(events) != 1 || offset != int64(2*len(auditSample)) {
		t.Errorf("got %v, %d, %v for the line that was completed", events, offset, err)
	}
	write(t, path, auditSample+"nonsense\n", 0o600)
	events, offset, err = ReadAudit(path, 0)
	wantError(t, err, nil, path)
	if len(events) != 1 || offset != int64(len(auditSample)) {
		t.Errorf("got %v, %d; want what comes before the nonsense", events, offset)
	}
}

func TestMutating(t *testing.T) {
	cases := map[string]struct {
		event AuditEvent
		want  bool
	}{
		"create":        {AuditEvent{Verb: "create", Resource: "namespaces"}, true},
		"apply":         {AuditEvent{Verb: "patch", Resource: "namespaces"}, true},
		"status":        {AuditEvent{Verb: "update", Resource: "pods", Subresource: "status"}, true},
		"collection":    {AuditEvent{Verb: "deletecollection", Resource: "pods"}, true},
		"delete":        {AuditEvent{Verb: "delete", Resource: "pods"}, true},
		"refused":       {AuditEvent{Verb: "delete", Resource: "pods", Code: 403}, true},
		"get":           {AuditEvent{Verb: "get", Resource: "pods"}, false},
		"watch":         {AuditEvent{Verb: "watch", Resource: "pods"}, false},
		"dry run":       {AuditEvent{Verb: "patch", Resource: "pods", RequestURI: "/x?dryRun=All"}, false},
		"access review": {AuditEvent{Verb: "create", Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}, false},
		"token":         {AuditEvent{Verb: "create", Resource: "serviceaccounts", Subresource: "token"}, false},
		"no resource":   {AuditEvent{Verb: "delete", RequestURI: "/metrics"}, false},
	}
	for name, c := range cases {
		if got := c.event.Mutating(); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
