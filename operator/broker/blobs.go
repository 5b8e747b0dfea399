package broker

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
)

// planned is the run whose source and plan a run uses: its own, or the one that it was made to apply.
func (b *Broker) planned(ctx context.Context, c *caller) (types.UID, error) {
	if c.run.Spec.Operation != v1alpha1.OperationApply {
		return c.run.UID, nil
	}
	o, err := b.Vault.Order(ctx, c.stack(), c.run.UID)
	if err == nil && o.PlanRun == "" {
		err = refused(http.StatusInternalServerError, v1alpha1.FailureInfrastructure, "the order of run %s does not say which plan it applies", c.run.Name)
	}
	return o.PlanRun, err
}

func (b *Broker) getSource(w http.ResponseWriter, r *http.Request, c *caller) error {
	return b.send(w, r, c, func(ctx context.Context) ([]byte, error) {
		switch c.run.Spec.Operation {
		case v1alpha1.OperationLook, v1alpha1.OperationDestroy:
			return b.Vault.AppliedSource(ctx, c.stack())
		case v1alpha1.OperationPlan, v1alpha1.OperationApply, v1alpha1.OperationConverge:
		}
		from, err := b.planned(ctx, c)
		if err != nil {
			return nil, err
		}
		return b.Vault.Source(ctx, c.stack(), from)
	})
}

func (b *Broker) getPlan(w http.ResponseWriter, r *http.Request, c *caller) error {
	return b.send(w, r, c, func(ctx context.Context) ([]byte, error) {
		from, err := b.planned(ctx, c)
		if err != nil {
			return nil, err
		}
		return b.Vault.Plan(ctx, c.stack(), from)
	})
}

func (b *Broker) getState(w http.ResponseWriter, r *http.Request, c *caller) error {
	return b.send(w, r, c, func(ctx context.Context) ([]byte, error) {
		data, serial, lineage, err := b.Vault.State(ctx, c.stack())
		if err == nil {
			w.Header().Set(run.HeaderSerial, strconv.FormatInt(serial, 10))
			w.Header().Set(run.HeaderLineage, lineage)
		}
		return data, err
	})
}

// send answers bytes, in their turn.
func (b *Broker) send(w http.ResponseWriter, r *http.Request, c *caller, get func(context.Context) ([]byte, error)) error {
	leave, err := b.room.take(r.Context(), c.run.Namespace, 0)
	if err != nil {
		return err
	}
	defer leave()
	data, err := get(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // who does not take it asks again
	return nil
}

func (b *Broker) putSource(w http.ResponseWriter, r *http.Request, c *caller) error {
	return b.keep(w, r, c, b.Vault.PutSource, v1alpha1.OperationPlan)
}

func (b *Broker) putPlan(w http.ResponseWriter, r *http.Request, c *caller) error {
	return b.keep(w, r, c, b.Vault.PutPlan, v1alpha1.OperationPlan)
}

// putState keeps a state. Its serial and lineage are the runner's to say, and the vault's to judge.
func (b *Broker) putState(w http.ResponseWriter, r *http.Request, c *caller) error {
	serial, err := strconv.ParseInt(r.Header.Get(run.HeaderSerial), 10, 64)
	lineage := r.Header.Get(run.HeaderLineage)
	if err != nil || serial < 1 || len(lineage) > 256 {
		return refused(http.StatusBadRequest, v1alpha1.FailureEngine, "a state needs headers %s, a positive number, and %s, at most 256 bytes", run.HeaderSerial, run.HeaderLineage)
	}
	put := func(ctx context.Context, s vault.Stack, _ types.UID, data []byte) error {
		return b.Vault.PutState(ctx, s, serial, lineage, data)
	}
	return b.keep(w, r, c, put, v1alpha1.OperationApply, v1alpha1.OperationConverge, v1alpha1.OperationDestroy)
}

// keep takes bytes from runs of certain operations, and from the pod only that holds the lock when they have come.
func (b *Broker) keep(w http.ResponseWriter, r *http.Request, c *caller, put func(context.Context, vault.Stack, types.UID, []byte) error, by ...v1alpha1.Operation) error {
	if !slices.Contains(by, c.run.Spec.Operation) {
		return forbidden("run %s is of operation %s, which does not write %s", c.run.Name, c.run.Spec.Operation, r.URL.Path)
	}
	data, leave, err := b.body(r, c, run.MaxBlob)
	if err != nil {
		return err
	}
	defer leave()
	if err := b.holds(r.Context(), c); err != nil {
		return err
	}
	if err := put(r.Context(), c.stack(), c.run.UID, data); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
