package service

import (
	"strings"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/outcome"
)

// offered is an offering that can be provisioned: its schema is read, and its manifests are such as a workspace may hold.
type offered struct {
	*v1alpha1.ServiceOffering
	schema *Schema
}

// check reads an offering. What is wrong with it, only the platform can correct.
func check(o *v1alpha1.ServiceOffering) (offered, error) {
	schema, err := ParseSchema(o.Spec.Parameters)
	if err != nil {
		return offered{}, outcome.Stalled(v1alpha1.ReasonInvalidParameters, "%w", err)
	}
	if s := o.Spec.Provisions.Stack; s != nil && (s.Source.Git != nil && s.Source.Git.Secret != "" || s.Source.OCI != nil && s.Source.OCI.Secret != "") {
		return offered{}, outcome.Stalled(v1alpha1.ReasonInvalidManifest,
			"spec.provisions.stack.source names a secret, which no comune has: offer code that everybody may read, or inline")
	}
	if _, err := Render(o.Spec.Provisions.Manifests, schema, schema.sample()); err != nil {
		return offered{}, outcome.Stalled(v1alpha1.ReasonInvalidManifest, "%w", err)
	}
	return offered{o, schema}, nil
}

// sample are parameters of the right types, by which manifests are tried before anybody asks for them.
func (s *Schema) sample() Values {
	out := Values{}
	for _, r := range s.Rules {
		switch {
		case s.Defaults[r.Name] != nil:
			out[r.Name] = s.Defaults[r.Name]
		case r.Type == "string" && len(r.Enum) > 0:
			out[r.Name] = r.Enum[0]
		case r.Type == "string":
			out[r.Name] = "x-" + strings.Trim(strings.ToLower(strings.ReplaceAll(r.Name, "_", "-")), "-") + "-x"
		case r.Type == "boolean":
			out[r.Name] = true
		case r.Type == "array":
			out[r.Name] = []any{}
		default:
			out[r.Name] = int64(1)
		}
	}
	return out
}
