package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// FieldManager owns what Apply writes, as "kubectl" does for people.
const FieldManager = "broletto-test"

// Apply does what "kubectl apply --server-side" does with a file, or with YAML given as bytes: every document as it stands,
// in order. Unknown and duplicate fields are errors.
func Apply[Manifest string | []byte](t testing.TB, c client.Client, m Manifest) []*unstructured.Unstructured {
	t.Helper()
	text, isText := any(m).([]byte)
	if !isText {
		var err error
		if text, err = os.ReadFile(string(m)); err != nil {
			t.Fatal(err)
		}
	}
	applied, err := apply(t.Context(), c, text)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

func apply(ctx context.Context, c client.Client, manifest []byte) (applied []*unstructured.Unstructured, err error) {
	documents, err := Documents(manifest)
	if err != nil {
		return nil, err
	}
	for _, document := range documents {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, o); err != nil {
			return applied, err
		}
		// The text goes as it is: it is the server that must find what is wrong with it.
		patch := client.RawPatch(types.ApplyYAMLPatchType, document)
		if err := client.WithFieldValidation(c, "Strict").Patch(ctx, o, patch, client.FieldOwner(FieldManager)); err != nil {
			return applied, fmt.Errorf("applying %s %s: %w", o.GetKind(), client.ObjectKeyFromObject(o), err)
		}
		applied = append(applied, o)
	}
	return applied, nil
}

// Documents splits YAML into its documents, without those that hold nothing but comments.
func Documents(manifest []byte) (documents [][]byte, err error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, err
		}
		var content any
		if err := yaml.Unmarshal(document, &content); err != nil {
			return nil, err
		}
		if content != nil {
			documents = append(documents, document)
		}
	}
}

// Eventually waits until f returns nil and fails the test with its last error otherwise. What is waited for completes
// the sentence "not in 20s: …".
func Eventually(t testing.TB, timeout time.Duration, what string, f func() error) {
	t.Helper()
	if err := poll(context.WithoutCancel(t.Context()), timeout, f); err != nil { // also in a cleanup
		t.Fatalf("not in %s: %s: %v", timeout, what, err)
	}
}

// poll asks until the answer is nil, and returns the last one when time is over. The longer it takes the less often it asks, with a
// twentieth of the time at most in between: every question takes the processor from what is waited for.
func poll(ctx context.Context, timeout time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begun := time.Now()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(min(max(20*time.Millisecond, time.Since(begun)/20), 250*time.Millisecond)):
		}
	}
}

// Discard deletes an object that no operator looks after, and that has had its finalizer from the admission policies all the same.
func Discard(ctx context.Context, c client.Client, o client.Object) error {
	released := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	if err := c.Patch(ctx, o, released); err != nil {
		return client.IgnoreNotFound(err)
	}
	return client.IgnoreNotFound(c.Delete(ctx, o))
}
