package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/config"
)

// Who may do what the policies deny everybody else, as the files in config/policies write it.
const (
	// Operator is the user that the operator acts as.
	Operator = "system:serviceaccount:broletto-system:broletto-operator"
	// PlatformGroup is the group whose members may, in an emergency, write what only the operator writes. Each use stands in the API
	// server's audit log under the key <policy>/break-glass.
	PlatformGroup = "broletto:platform"
)

// AnnotationRevision tells which version of config/policies an installed policy is of: a digest that `make generate` computes. The
// chart and the kustomization set it. A policy of another revision is a newer or older Broletto's, and is left alone.
const AnnotationRevision = "broletto.dev/policies"

// Policies are the policies and bindings of config/policies, for an operator and a platform group of these names.
func Policies(operator, platform string) ([]client.Object, error) {
	names, err := fs.Glob(config.Policies, "policies/*.yaml")
	if err != nil {
		return nil, err
	}
	var out []client.Object
	for _, name := range names {
		text, err := fs.ReadFile(config.Policies, name)
		if err != nil {
			return nil, err
		}
		named := strings.NewReplacer(Operator, operator, PlatformGroup, platform).Replace(string(text))
		for document := range strings.SplitSeq("\n"+named, "\n---\n") {
			o, err := decode([]byte(document))
			if err != nil {
				return nil, fmt.Errorf("reading config/%s: %w", name, err)
			}
			if o != nil {
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// kinds are those that the policies are of. A cluster before Kubernetes 1.36 lacks those that begin with Mutating.
var kinds = map[string]func() client.Object{
	"ValidatingAdmissionPolicy":        func() client.Object { return &admissionv1.ValidatingAdmissionPolicy{} },
	"ValidatingAdmissionPolicyBinding": func() client.Object { return &admissionv1.ValidatingAdmissionPolicyBinding{} },
	"MutatingAdmissionPolicy":          func() client.Object { return &admissionv1.MutatingAdmissionPolicy{} },
	"MutatingAdmissionPolicyBinding":   func() client.Object { return &admissionv1.MutatingAdmissionPolicyBinding{} },
}

// decode reads one policy or binding; nil for the kustomization.
func decode(document []byte) (client.Object, error) {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(document, &meta); err != nil {
		return nil, err
	}
	if meta.Kind == "Kustomization" {
		return nil, nil
	}
	empty, known := kinds[meta.Kind]
	if !known {
		return nil, fmt.Errorf("%s is no kind of policy", meta.Kind)
	}
	o := empty()
	return o, yaml.UnmarshalStrict(document, o)
}

// Revision is the revision of config/policies that this program holds.
func Revision() (string, error) {
	text, err := fs.ReadFile(config.Policies, "policies/kustomization.yaml")
	if err != nil {
		return "", err
	}
	var kustomization struct {
		CommonAnnotations map[string]string `json:"commonAnnotations"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return "", fmt.Errorf("reading config/policies/kustomization.yaml: %w", err)
	}
	revision := kustomization.CommonAnnotations[AnnotationRevision]
	if revision == "" {
		return "", errors.New("config/policies/kustomization.yaml names no revision: run make generate")
	}
	return revision, nil
}

// same tells whether a policy is just as we want it. Its metadata are its installer's.
func same(want, live client.Object) (bool, error) {
	a, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
	if err != nil {
		return false, err
	}
	b, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	return err == nil && equality.Semantic.DeepEqual(a["spec"], b["spec"]), err
}

// WhoAmI asks the API server which user it takes the operator for.
func WhoAmI(ctx context.Context, cfg *rest.Config) (string, error) {
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	review, err := c.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("asking the API server who we are: %w", err)
	}
	return review.Status.UserInfo.Username, nil
}
