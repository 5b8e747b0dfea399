package source

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
)

// maxManifest bounds a manifest, as registries do.
const maxManifest = 4 << 20

// artefact fetches an artefact by digest: a manifest whose layers are archives, or files that have a name. Every byte is held against its digest.
func artefact(ctx context.Context, s v1alpha1.OCISource, credentials map[string][]byte, dir string, o Options) (string, error) {
	_, digest, ok := strings.Cut(s.Reference, "@")
	if !ok {
		return "", authors("oci.reference %q has no digest: write it as registry.example/name@sha256:…", s.Reference)
	}
	repo, err := remote.NewRepository(s.Reference)
	if err != nil {
		return "", authors("oci.reference cannot be read: %w", err)
	}
	// Registries lead to where their blobs are; what comes from there has to have its digest, and credentials do not go along.
	client, idle, err := o.client(credentials["ca.crt"], nil)
	if err != nil {
		return "", err
	}
	defer idle()
	repo.Client = registry(client, repo.Reference.Host(), credentials)
	layers, err := manifest(ctx, repo, digest)
	if err != nil {
		return "", err
	}
	tmp, done, err := beside(dir)
	if err != nil {
		return "", err
	}
	defer done()
	tree, err := run.OpenTree(tmp, o.Limits)
	if err != nil {
		return "", err
	}
	defer func() { _ = tree.Close() }()
	for _, layer := range layers {
		if err := unpack(ctx, repo, layer, tree, o); err != nil {
			return "", err
		}
	}
	return digest, settle(tmp, s.Path, dir)
}

func registry(client *http.Client, host string, credentials map[string][]byte) *auth.Client {
	c := &auth.Client{Client: client, Cache: auth.NewCache()}
	c.SetUserAgent("broletto-runner")
	if password := strings.TrimSpace(string(credentials["password"])); password != "" {
		c.Credential = auth.StaticCredential(host, auth.Credential{Username: strings.TrimSpace(string(credentials["username"])), Password: password})
	}
	return c
}

// manifest reads which layers there are.
func manifest(ctx context.Context, repo *remote.Repository, digest string) ([]ocispec.Descriptor, error) {
	desc, r, err := repo.Manifests().FetchReference(ctx, digest)
	if err != nil {
		return nil, registryFailure("reading the artefact's manifest", err)
	}
	defer func() { _ = r.Close() }()
	if desc.Size > maxManifest || desc.Digest.String() != digest {
		return nil, authors("what the registry has under %s is no manifest of that digest: correct oci.reference", digest)
	}
	data, err := content.ReadAll(r, desc)
	if err != nil {
		return nil, registryFailure("reading the artefact's manifest", err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil || len(m.Layers) == 0 {
		return nil, authors("%s is no artefact with layers, but %s: use the digest of one (an index has several; each has its own)", digest, desc.MediaType)
	}
	return m.Layers, nil
}

func unpack(ctx context.Context, repo *remote.Repository, layer ocispec.Descriptor, tree *run.Tree, o Options) (err error) {
	if layer.Size > o.Wire {
		return errTooLarge
	}
	blob, err := repo.Blobs().Fetch(ctx, layer)
	if err != nil {
		return registryFailure("reading the artefact", err)
	}
	defer func() { _ = blob.Close() }()
	r := content.NewVerifyReader(blob, layer)
	if err := add(r, layer, tree); err != nil {
		if _, ok := errors.AsType[*run.Hostile](err); ok {
			return err
		}
		return registryFailure("unpacking the artefact", err)
	}
	// What is behind an archive's end belongs to the digest, too.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return registryFailure("reading the artefact", err)
	}
	if err := r.Verify(); err != nil {
		return registryFailure("holding the artefact against its digest", err)
	}
	return nil
}

func add(r io.Reader, layer ocispec.Descriptor, tree *run.Tree) error {
	kind := layer.MediaType
	switch title := layer.Annotations[ocispec.AnnotationTitle]; {
	case strings.HasSuffix(kind, "+gzip"), strings.HasSuffix(kind, ".gzip"), strings.HasSuffix(kind, "tar.gz"):
		z, err := gzip.NewReader(r)
		if err != nil {
			return authors("a layer of type %s is not compressed as its type says: %w", kind, err)
		}
		return tree.Untar(z)
	case strings.HasSuffix(kind, ".tar"), strings.HasSuffix(kind, "+tar"):
		return tree.Untar(r)
	case title != "":
		return tree.Add(title, 0, layer.Size, r)
	}
	return authors("the artefact has a layer of type %s, which is no archive and has no name: push it as tar.gz, for example with flux push artifact or oras push", kind)
}

// registryFailure says whose turn it is after trouble with a registry.
func registryFailure(what string, err error) error {
	var answer *errcode.ErrorResponse
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		return authors("%s: the registry has none under this digest, or the credentials do not show it: correct oci.reference or oci.secret", what)
	case errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData), errors.Is(err, content.ErrInvalidDescriptorSize),
		strings.Contains(err.Error(), "digest mismatch"): // of a manifest, which has no error of its own
		return authors("%s: it does not have the digest that it should have: somebody changed it (%w)", what, err)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return authors("%s: the registry wants credentials: name a Secret in oci.secret", what)
	case errors.As(err, &answer):
		if answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden {
			return authors("%s: the registry does not take the credentials: correct the Secret that oci.secret names", what)
		}
		if answer.StatusCode < 500 && answer.StatusCode != http.StatusTooManyRequests {
			return authors("%s: the registry answers %d: correct oci.reference", what, answer.StatusCode)
		}
	}
	return network(what, fmt.Errorf("%w", err))
}
