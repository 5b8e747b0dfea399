package service

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// writable are the kinds that a workspace's editors may write, and so the only ones that an offering makes. A test holds them against
// config/rbac/audiences.yaml.
var writable = map[schema.GroupKind]string{
	{Kind: "Pod"}: "pods", {Kind: "ConfigMap"}: "configmaps", {Kind: "Secret"}: "secrets", {Kind: "Service"}: "services",
	{Kind: "PersistentVolumeClaim"}:     "persistentvolumeclaims",
	{Group: "apps", Kind: "Deployment"}: "deployments", {Group: "apps", Kind: "StatefulSet"}: "statefulsets", {Group: "apps", Kind: "ReplicaSet"}: "replicasets",
	{Group: "batch", Kind: "Job"}: "jobs", {Group: "batch", Kind: "CronJob"}: "cronjobs",
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: "horizontalpodautoscalers",
	{Group: "policy", Kind: "PodDisruptionBudget"}:          "poddisruptionbudgets",
	{Group: "networking.k8s.io", Kind: "Ingress"}:           "ingresses",
	{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}: "httproutes",
	{Group: "gateway.networking.k8s.io", Kind: "GRPCRoute"}: "grpcroutes",
	{Group: "gateway.networking.k8s.io", Kind: "TLSRoute"}:  "tlsroutes",
}

var (
	// reference is ${name}, or $${, which stands for a plain ${.
	reference = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}?`)
	// oursAlone are names of labels and annotations that only the operator writes.
	oursAlone = regexp.MustCompile(`^([a-z0-9-]+\.)*broletto\.dev/`)
)

// absent stands for a parameter that has neither been said nor has a default.
type absent struct{}

// Render makes an offering's manifests of parameters: only of those that the offering names. It knows no workspace: the objects have no
// namespace. The error says which manifest, why, and the way out.
func Render(manifests []apiextensionsv1.JSON, s *Schema, values Values) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, 0, len(manifests))
	seen := map[string]bool{}
	for i, m := range manifests {
		path := fmt.Sprintf("spec.provisions.manifests[%d]", i)
		o, err := render(m, s, values)
		if err == nil {
			err = refuse(o)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if ref := refOf(o).String(); seen[ref] {
			return nil, fmt.Errorf("%s: %s is there twice: give one another name", path, ref)
		} else {
			seen[ref] = true
		}
		out = append(out, o)
	}
	return out, nil
}

func render(m apiextensionsv1.JSON, s *Schema, values Values) (*unstructured.Unstructured, error) {
	content, err := decode(m.Raw)
	if err != nil {
		return nil, err
	}
	object, ok := content.(map[string]any)
	if !ok {
		return nil, errors.New("no object: write apiVersion, kind, metadata and so on")
	}
	for _, field := range []string{"apiVersion", "kind"} {
		if text, isText := object[field].(string); !isText || strings.Contains(text, "$") {
			return nil, fmt.Errorf("%s is no plain text: no parameter decides what an object is", field)
		}
	}
	filled, err := fill(object, s, values)
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: filled.(map[string]any)}, nil
}

// fill puts parameters in the place of references, in texts alone: names of fields stay as they are.
func fill(value any, s *Schema, values Values) (any, error) {
	switch value := value.(type) {
	case string:
		return text(value, s, values)
	case []any:
		out := []any{}
		for _, item := range value {
			filled, err := fill(item, s, values)
			if err != nil {
				return nil, err
			}
			if !isAbsent(filled) {
				out = append(out, filled)
			}
		}
		return out, nil
	case map[string]any:
		out := map[string]any{}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			filled, err := fill(value[key], s, values)
			if err != nil {
				return nil, err
			}
			if !isAbsent(filled) {
				out[key] = filled
			}
		}
		return out, nil
	default:
		return value, nil
	}
}

func isAbsent(value any) bool {
	_, is := value.(absent)
	return is
}

// text is a text with its references filled in. One that is a reference and nothing else is the parameter itself.
func text(template string, s *Schema, values Values) (any, error) {
	found := reference.FindAllStringSubmatchIndex(template, -1)
	var out strings.Builder
	at := 0
	for _, match := range found {
		whole := template[match[0]:match[1]]
		out.WriteString(template[at:match[0]])
		at = match[1]
		if whole == "$${" {
			out.WriteString("${")
			continue
		}
		name := template[match[2]:match[3]]
		if !s.knows(name) || !strings.HasSuffix(whole, "}") {
			return nil, fmt.Errorf("%q is no parameter: %s; write $${ for a plain ${", whole, s.known())
		}
		value, said := values[name]
		if whole == template {
			if !said {
				return absent{}, nil
			}
			return copied(value), nil
		}
		out.WriteString(plain(value))
	}
	out.WriteString(template[at:])
	return out.String(), nil
}

// copied keeps two places in which a parameter stands from sharing a list.
func copied(value any) any {
	if list, isList := value.([]any); isList {
		return slices.Clone(list)
	}
	return value
}

func (s *Schema) knows(name string) bool {
	for _, r := range s.Rules {
		if r.Name == name {
			return true
		}
	}
	return false
}

// refuse finds what no offering may make: what an editor of a workspace may not write, and what would reach outside of it.
func refuse(o *unstructured.Unstructured) error {
	gvk := o.GroupVersionKind()
	if _, known := writable[gvk.GroupKind()]; !known {
		return fmt.Errorf("%s %s is not what a workspace's editor may write: an offering makes %s", o.GetAPIVersion(), gvk.Kind, kinds())
	}
	metadata, ok := o.Object["metadata"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s has no metadata: give it a name", gvk.Kind)
	}
	for _, field := range slices.Sorted(maps.Keys(metadata)) {
		if !slices.Contains([]string{"name", "labels", "annotations"}, field) {
			return fmt.Errorf("%s has metadata.%s: of metadata, a manifest says name, labels and annotations; it is made in the instance's workspace", gvk.Kind, field)
		}
	}
	if wrong := validation.IsDNS1123Subdomain(o.GetName()); len(wrong) > 0 {
		return fmt.Errorf("%s has the name %q: %s", gvk.Kind, o.GetName(), wrong[0])
	}
	if _, has := o.Object["status"]; has {
		return fmt.Errorf("%s %s has a status, which its controller writes: leave it out", gvk.Kind, o.GetName())
	}
	if gvk.Kind == "Secret" && o.Object["type"] == "kubernetes.io/service-account-token" {
		return fmt.Errorf("secret %s would hold the token of an account: use a projected volume", o.GetName())
	}
	return marks(o.Object, gvk.Kind+" "+o.GetName())
}

// marks finds labels and annotations that only the operator writes, also in templates of pods, and such as are no texts.
func marks(value any, where string) error {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			if err := marks(item, where); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			entries, isMap := value[key].(map[string]any)
			if isMap && (key == "labels" || key == "annotations") {
				for _, name := range slices.Sorted(maps.Keys(entries)) {
					if oursAlone.MatchString(name) {
						return fmt.Errorf("%s has %s in its %s: names of broletto.dev are the operator's; choose another", where, name, key)
					}
				}
			}
			if err := marks(value[key], where); err != nil {
				return err
			}
		}
	}
	return nil
}

func kinds() string {
	var names []string
	for kind := range writable {
		names = append(names, kind.Kind)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Ref names an object in the workspace: "apps/v1 Deployment/albo".
type Ref struct{ APIVersion, Kind, Name string }

func refOf(o *unstructured.Unstructured) Ref {
	return Ref{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Name: o.GetName()}
}

// String is the text that stands in status.objects.
func (r Ref) String() string { return r.APIVersion + " " + r.Kind + "/" + r.Name }

// short is how people call it.
func (r Ref) short() string { return r.Kind + "/" + r.Name }

// sameObject tells whether both name one object: versions of a group are views of the same.
func (r Ref) sameObject(other Ref) bool {
	return r.group() == other.group() && r.Kind == other.Kind && r.Name == other.Name
}

func (r Ref) group() string {
	group, _, found := strings.Cut(r.APIVersion, "/")
	if !found {
		return ""
	}
	return group
}

// ParseRef reads the text of a reference.
func ParseRef(text string) (Ref, bool) {
	version, rest, found := strings.Cut(text, " ")
	kind, name, split := strings.Cut(rest, "/")
	return Ref{APIVersion: version, Kind: kind, Name: name}, found && split && version != "" && kind != "" && name != ""
}
