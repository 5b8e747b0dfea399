package objects

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/broletto/broletto/config"
	"github.com/broletto/broletto/operator/guardrail"
)

const (
	roles        = "roles.rbac.authorization.k8s.io"
	roleBindings = "rolebindings.rbac.authorization.k8s.io"

	mostQuestions = 2000 // that one role may raise; the administrators' raises some 300
)

// once asks each question once, however many objects it is about.
func once(may May) May {
	var answers sync.Map
	return func(ctx context.Context, verb string, r Resource) error {
		r.Version, r.Kind = "", ""
		type question struct {
			verb string
			Resource
		}
		answer, _ := answers.LoadOrStore(question{verb, r}, sync.OnceValue(func() error { return may(ctx, verb, r) }))
		return answer.(func() error)()
	}
}

// holds tells whether whoever asked may do themselves what the rules of a role let one do: the account that writes the role may do more than
// they, and so the API server lets it give more.
func (a *applying) holds(ctx context.Context, rules []rbacv1.PolicyRule) error {
	questions := 0
	for _, rule := range rules {
		if questions += len(rule.APIGroups) * len(rule.Resources) * len(rule.Verbs); questions > mostQuestions {
			return refusal("its role has more rules than anybody can look through: write a smaller one")
		}
		for _, text := range slices.Concat(rule.Verbs, rule.APIGroups, rule.Resources) {
			if strings.Contains(text, "*") {
				return refusal("a role may hold no wildcard: name the apiGroups, resources and verbs that are needed")
			}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					if err := a.may(ctx, verb, Resource{Group: group, Resource: resource}); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// role judges a Role that is to be put back.
func (a *applying) role(ctx context.Context, o *unstructured.Unstructured) error {
	role := &rbacv1.Role{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, role); err != nil {
		return refusal("it is no Role: " + err.Error())
	}
	if err := a.holds(ctx, role.Rules); err != nil {
		return err
	}
	a.planned.Store(o.GetName(), role.Rules)
	return nil
}

// binding judges a RoleBinding that is to be put back, and takes the workspace's accounts in it to the namespace.
func (a *applying) binding(ctx context.Context, o *unstructured.Unstructured) error {
	b := &rbacv1.RoleBinding{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, b); err != nil {
		return refusal("it is no RoleBinding: " + err.Error())
	}
	for _, s := range b.Subjects {
		if s.Kind == rbacv1.ServiceAccountKind && s.Namespace != a.From {
			return refusal(fmt.Sprintf("it gives rights to account %.63q of %.63q, which is not this workspace's", s.Name, s.Namespace))
		}
	}
	each(o, func(subject map[string]any) {
		if subject["kind"] == rbacv1.ServiceAccountKind {
			subject["namespace"] = a.Namespace
		}
	}, "subjects")
	rules, err := a.rules(ctx, b.RoleRef)
	if err != nil {
		return err
	}
	return a.holds(ctx, rules)
}

// rules are those of the role that a binding names.
func (a *applying) rules(ctx context.Context, ref rbacv1.RoleRef) ([]rbacv1.PolicyRule, error) {
	if ref.Kind == "ClusterRole" {
		rules, ours := clusterRoles()[ref.Name]
		if !ours {
			return nil, refusal(fmt.Sprintf("ClusterRole %.63q is none that a workspace's bindings may name: bind a Role, or one of %s, %s, %s",
				ref.Name, guardrail.RoleWorkspaceAdmin, guardrail.RoleWorkspaceEdit, guardrail.RoleWorkspaceView))
		}
		return rules, nil
	}
	if ref.Name == "" || len(content.IsPathSegmentName(ref.Name)) > 0 {
		return nil, refusal("it binds no role that there can be")
	}
	live, err := a.at(Resource{Group: rbacv1.GroupName, Version: "v1", Resource: "roles"}).Get(a.as(ctx), ref.Name, getNow)
	if apierrors.IsNotFound(err) {
		if rules, planned := a.planned.Load(ref.Name); planned && a.DryRun {
			return rules.([]rbacv1.PolicyRule), nil
		}
		return nil, refusal(fmt.Sprintf("Role %.63q, which it binds, is not there: make it first", ref.Name))
	}
	if err != nil {
		return nil, err
	}
	role := &rbacv1.Role{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, role); err != nil {
		return nil, err
	}
	return role.Rules, nil
}

// clusterRoles are the rules of the cluster roles that bindings in a workspace may name, as we ship them.
var clusterRoles = sync.OnceValue(func() map[string][]rbacv1.PolicyRule {
	text, err := config.RBAC.ReadFile("rbac/audiences.yaml")
	if err != nil {
		panic(err) // it is built in
	}
	out := map[string][]rbacv1.PolicyRule{}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		role := rbacv1.ClusterRole{}
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			panic(err)
		}
		if slices.Contains([]string{guardrail.RoleWorkspaceAdmin, guardrail.RoleWorkspaceEdit, guardrail.RoleWorkspaceView}, role.Name) {
			out[role.Name] = role.Rules
		}
	}
	return out
})
