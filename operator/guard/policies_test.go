package guard

import (
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestPoliciesAreStrict: what cannot be evaluated is refused, what is refused is not only warned of, and each policy has one binding, which
// narrows nothing.
func TestPoliciesAreStrict(t *testing.T) {
	all, err := Policies(Operator, PlatformGroup)
	if err != nil {
		t.Fatal(err)
	}
	policies, bindings := map[string]bool{}, map[string]string{}
	for _, o := range all {
		if !strings.HasPrefix(o.GetName(), "broletto-") {
			t.Errorf("%s could be somebody else's", o.GetName())
		}
		switch o := o.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			policies[o.Name] = true
			strict(t, o, o.Spec.FailurePolicy)
			for _, v := range o.Spec.Validations {
				if v.Message == "" && v.MessageExpression == "" {
					t.Errorf("%s refuses without a word: %s", o.Name, v.Expression)
				}
			}
		case *admissionv1.MutatingAdmissionPolicy:
			policies[o.Name] = true
			strict(t, o, o.Spec.FailurePolicy)
		case *admissionv1.ValidatingAdmissionPolicyBinding:
			bindings[o.Name] = o.Spec.PolicyName
			if !slices.Equal(o.Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) || o.Spec.MatchResources != nil || !everything(o.Spec.ParamRef) {
				t.Errorf("binding %s does not deny everywhere: %+v", o.Name, o.Spec)
			}
		case *admissionv1.MutatingAdmissionPolicyBinding:
			bindings[o.Name] = o.Spec.PolicyName
			if o.Spec.MatchResources != nil || o.Spec.ParamRef != nil {
				t.Errorf("binding %s does not apply everywhere: %+v", o.Name, o.Spec)
			}
		}
	}
	for name := range policies {
		if bindings[name] != name {
			t.Errorf("policy %s is not bound by a binding of its name", name)
		}
	}
	if len(policies) < 15 || len(bindings) != len(policies) {
		t.Errorf("%d policies, %d bindings", len(policies), len(bindings))
	}
}

// everything tells whether a binding has no parameters, or all that there are: without any, nothing is refused.
func everything(ref *admissionv1.ParamRef) bool {
	return ref == nil || (ref.Name == "" && ref.Selector != nil && len(ref.Selector.MatchLabels)+len(ref.Selector.MatchExpressions) == 0 &&
		ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionv1.AllowAction)
}

func strict(t *testing.T, o client.Object, failure *admissionv1.FailurePolicyType) {
	t.Helper()
	if failure == nil || *failure != admissionv1.Fail {
		t.Errorf("%s lets pass what it cannot evaluate", o.GetName())
	}
}

// TestNames: the operator and the platform's group are called as the installation calls them, and by no other name.
func TestNames(t *testing.T) {
	all, err := Policies("system:serviceaccount:hosting:op", "it:platform")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, o := range all {
		if p, ok := o.(*admissionv1.ValidatingAdmissionPolicy); ok {
			for _, c := range p.Spec.MatchConditions {
				text.WriteString(c.Expression)
			}
			for _, v := range p.Spec.Variables {
				text.WriteString(v.Expression)
			}
		}
	}
	for _, want := range []string{"'system:serviceaccount:hosting:op'", "'it:platform'"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no policy names %s", want)
		}
	}
	for _, unwanted := range []string{Operator, PlatformGroup} {
		if strings.Contains(text.String(), unwanted) {
			t.Errorf("a policy names %s", unwanted)
		}
	}
}
