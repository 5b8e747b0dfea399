package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/broletto/broletto/hack/kube"
	"github.com/broletto/broletto/operator/embedded"
)

// operatorUser is who the operator is to the API server.
const operatorUser = "system:serviceaccount:" + embedded.Namespace + ":broletto-operator"

// still is how long nobody asks for anything before it counts as quiet.
const still = 5 * time.Second

// traffic is a number of requests, leases apart: those come every two seconds whatever there is to do.
type traffic struct {
	Requests int     `json:"requests"`
	Mutating int     `json:"mutating"`
	Lease    int     `json:"lease"`
	By       []tally `json:"by"`
}

// tally is how often one request was answered in one way.
type tally struct {
	Verb     string `json:"verb"`
	Resource string `json:"resource"` // with its subresource
	Code     int    `json:"code"`
	Count    int    `json:"count"`
}

func count(events []kube.AuditEvent) traffic {
	var t traffic
	kinds := map[tally]int{}
	for _, e := range events {
		if isLease(e) {
			t.Lease++
			continue
		}
		t.Requests++
		if e.Mutating() {
			t.Mutating++
		}
		kinds[tally{Verb: e.Verb, Resource: resourceOf(e), Code: e.Code}]++
	}
	for kind, n := range kinds {
		kind.Count = n
		t.By = append(t.By, kind)
	}
	slices.SortFunc(t.By, func(a, b tally) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Verb, b.Verb), cmp.Compare(a.Code, b.Code))
	})
	return t
}

func isLease(e kube.AuditEvent) bool { return e.Resource == "leases" }

func isOperator(e kube.AuditEvent) bool { return e.User == operatorUser }

// isWork is what the operator asks for beside its lease.
func isWork(e kube.AuditEvent) bool { return isOperator(e) && !isLease(e) }

// isWrite is what anybody asks to change.
func isWrite(e kube.AuditEvent) bool { return e.Mutating() && !isLease(e) }

func resourceOf(e kube.AuditEvent) string {
	switch {
	case e.Resource == "":
		path, _, _ := strings.Cut(e.RequestURI, "?")
		return path
	case e.Subresource != "":
		return e.Resource + "/" + e.Subresource
	}
	return e.Resource
}

// who counts requests by who asked: the operator, the clients that write manifests, the controller manager.
func who(events []kube.AuditEvent) map[string]int {
	asked := map[string]int{}
	for _, e := range events {
		switch {
		case isLease(e):
		case e.UserAgent == plainAgent || e.User == kube.AdminUser:
			asked["client"]++
		case isOperator(e):
			asked["operator"]++
		case strings.HasPrefix(e.User, "system:apiserver"):
			asked["kube-apiserver"]++
		default:
			asked["kube-controller-manager"]++
		}
	}
	return asked
}

// writes are the operator's mutating requests by whom they were for. A workspace is known by its namespace.
type writes struct {
	workspace map[string]int
	tenant    map[string]int
	ledger    map[string]int // of the tenant's, those to its status, where the ledger stands
	other     int
}

func attribute(events []kube.AuditEvent) writes {
	w := writes{workspace: map[string]int{}, tenant: map[string]int{}, ledger: map[string]int{}}
	for _, e := range events {
		if !isWork(e) || !e.Mutating() {
			continue
		}
		namespace := e.Namespace
		if e.Resource == "namespaces" {
			namespace = e.Name
		}
		switch {
		case e.Resource == "workspaces":
			w.workspace[e.Namespace+"--"+e.Name]++
		case strings.Contains(namespace, "--"):
			w.workspace[namespace]++
		case e.Resource == "tenants":
			w.tenant[e.Name]++
			if e.Subresource == "status" {
				w.ledger[e.Name]++
			}
		case namespace != "":
			w.tenant[namespace]++
		default:
			w.other++
		}
	}
	return w
}

// mark is the present end of the audit log.
func (b *bench) mark() (offset int64, err error) {
	_, offset, err = kube.ReadAudit(b.cluster.AuditLog(), b.seen)
	b.seen = offset
	return offset, err
}

// since are the requests after a mark.
func (b *bench) since(mark int64) ([]kube.AuditEvent, error) {
	events, _, err := kube.ReadAudit(b.cluster.AuditLog(), mark)
	return events, err
}

func only(events []kube.AuditEvent, wanted func(kube.AuditEvent) bool) (out []kube.AuditEvent) {
	for _, e := range events {
		if wanted(e) {
			out = append(out, e)
		}
	}
	return out
}

// quiet waits until nothing that counts as noise has been asked for a while, and returns all requests since the mark.
func (b *bench) quiet(ctx context.Context, mark int64, noise func(kube.AuditEvent) bool) ([]kube.AuditEvent, error) {
	ctx, stop := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not quiet within %s", patience))
	defer stop()
	begun := time.Now()
	for {
		events, err := b.since(mark)
		if err != nil {
			return nil, err
		}
		if time.Since(latest(begun, only(events, noise))) >= still {
			return events, nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// latest is the time of the last request, or begun if there is none after it.
func latest(begun time.Time, events []kube.AuditEvent) time.Time {
	for _, e := range events {
		if e.Time.After(begun) {
			begun = e.Time
		}
	}
	return begun
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
