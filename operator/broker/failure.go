package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
	"github.com/broletto/broletto/operator/vault"
)

// failure is why a request is refused, as the runner hears it.
type failure struct {
	code int
	run.Problem
}

func refused(code int, class v1alpha1.FailureClass, format string, args ...any) error {
	return &failure{code, run.Problem{Class: class, Message: fmt.Sprintf(format, args...)}}
}

func forbidden(format string, args ...any) error {
	return refused(http.StatusForbidden, v1alpha1.FailureInfrastructure, format, args...)
}

func later(format string, args ...any) error {
	return refused(http.StatusServiceUnavailable, v1alpha1.FailureInfrastructure, format, args...)
}

// judge says what a runner hears of an error. What the cluster said stays in the operator's log.
func judge(err error) *failure {
	var f *failure
	var held *vault.Held
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &held):
		return &failure{http.StatusConflict, run.Problem{Class: v1alpha1.FailureLocked, Message: held.Error()}}
	case errors.Is(err, vault.ErrStale), errors.Is(err, vault.ErrUsed), errors.Is(err, vault.ErrConflict):
		return &failure{http.StatusConflict, run.Problem{Class: v1alpha1.FailureOutOfDate, Message: err.Error()}}
	case errors.Is(err, vault.ErrNotFound):
		return &failure{http.StatusNotFound, run.Problem{Class: v1alpha1.FailureInfrastructure, Message: "there is nothing of that kind"}}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &failure{http.StatusServiceUnavailable, run.Problem{Class: v1alpha1.FailureInfrastructure, Message: "the broker took too long: try again"}}
	}
	return &failure{http.StatusInternalServerError, run.Problem{
		Class: v1alpha1.FailureInfrastructure, Message: "the broker cannot reach what it keeps: try again; the operator's log says more",
	}}
}

// answerJSON writes an answer.
func answerJSON(w http.ResponseWriter, code int, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(data) // who does not take it asks again
	return nil
}
