package pulumi

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/run"
)

// savedPlan is what we read of a plan that the engine saved.
type savedPlan struct {
	ResourcePlans map[string]resourcePlan `json:"resourcePlans"`
}

type resourcePlan struct {
	Goal  json.RawMessage `json:"goal"`
	Steps []string        `json:"steps"`
	// Outputs has another name in the file.
	Outputs json.RawMessage `json:"state"`
	// Seed is left out: it is drawn by lot.
}

// read makes a plan of the one that the engine saved. Secrets are sealed there, differently each time, so they are opened.
func read(ctx context.Context, saved []byte, s *state, keys *keyring) (*engine.Plan, error) {
	var p savedPlan
	if err := json.Unmarshal(saved, &p); err != nil {
		return nil, err
	}
	if p.ResourcePlans == nil { // under a version
		var versioned struct {
			Plan savedPlan `json:"plan"`
		}
		if err := json.Unmarshal(saved, &versioned); err != nil {
			return nil, err
		}
		p = versioned.Plan
	}
	plan := &engine.Plan{Outputs: map[string]engine.Values{}}
	before := s.inputs()
	providers := map[string]bool{}
	after := map[string]json.RawMessage{}
	for urn, r := range p.ResourcePlans {
		kind := typeOf(urn)
		if kind == stackType {
			if len(r.Outputs) > 0 {
				clear, err := keys.open(ctx, r.Outputs)
				if err != nil {
					return nil, err
				}
				if err := json.Unmarshal(clear, &after); err != nil {
					return nil, err
				}
			}
			continue
		}
		providers[packageOf(kind)] = true
		actions := actionsOf(r.Steps)
		if len(actions) == 0 || ours(urn) {
			continue
		}
		values, err := valuesOf(ctx, before[urn], r, keys)
		if err != nil {
			return nil, err
		}
		plan.Changes = append(plan.Changes, engine.Change{Address: urn, Type: kind, Actions: actions, Values: values})
	}
	old, err := s.outputs(ctx, keys)
	if err != nil {
		return nil, err
	}
	plan.Outputs = compare(old, after)
	plan.Providers = names(providers)
	return plan, nil
}

// ours are providers that the engine makes by itself, for whatever asks for none: nobody wrote them, and nothing outside is like them.
func ours(urn string) bool {
	name := urn[strings.LastIndex(urn, "::")+2:]
	return strings.HasPrefix(typeOf(urn), providerPrefix) && strings.HasPrefix(name, "default")
}

// readDestroy makes a plan of the steps of which the engine told.
func readDestroy(ctx context.Context, steps []apitype.StepEventMetadata, s *state, keys *keyring) (*engine.Plan, error) {
	plan := &engine.Plan{}
	before := s.inputs()
	providers := map[string]bool{}
	for _, step := range steps {
		kind := typeOf(step.URN)
		if kind == stackType {
			continue
		}
		providers[packageOf(kind)] = true
		actions := actionsOf([]string{string(step.Op)})
		if len(actions) == 0 || ours(step.URN) {
			continue
		}
		values, err := valuesOf(ctx, before[step.URN], resourcePlan{}, keys)
		if err != nil {
			return nil, err
		}
		plan.Changes = append(plan.Changes, engine.Change{Address: step.URN, Type: kind, Actions: actions, Values: values})
	}
	old, err := s.outputs(ctx, keys)
	if err != nil {
		return nil, err
	}
	plan.Outputs = compare(old, nil)
	plan.Providers = names(providers)
	return plan, nil
}

// inputs are those of the resources there are, by URN.
func (s *state) inputs() map[string]json.RawMessage {
	inputs := map[string]json.RawMessage{}
	for _, r := range s.Resources {
		if !r.Delete { // else it is what a replacement could not delete
			inputs[r.URN] = r.Inputs
		}
	}
	return inputs
}

func valuesOf(ctx context.Context, before json.RawMessage, r resourcePlan, keys *keyring) (v engine.Values, err error) {
	if len(before) > 0 {
		if v.Before, err = keys.open(ctx, before); err != nil {
			return v, err
		}
	}
	if len(r.Goal) > 0 {
		v.After, err = keys.open(ctx, r.Goal)
	}
	return v, err
}

// actionsOf are the steps in our words, a replacement in its own order.
func actionsOf(steps []string) []string {
	var actions []string
	for _, s := range steps {
		switch apitype.OpType(s) {
		case apitype.OpSame, apitype.OpRefresh, apitype.OpRead, apitype.OpReadReplacement, apitype.OpReadDiscard,
			apitype.OpReplace, apitype.OpRemovePendingReplace: // the last but one is told by the two steps that it consists of
		case apitype.OpCreate, apitype.OpCreateReplacement, apitype.OpImportReplacement:
			actions = append(actions, run.ActionCreate)
		case apitype.OpDelete, apitype.OpDeleteReplaced, apitype.OpDiscardReplaced:
			actions = append(actions, run.ActionDelete)
		case apitype.OpUpdate, apitype.OpImport:
			fallthrough
		default: // what we do not know: better one too many to approve than one unseen
			actions = append(actions, run.ActionUpdate)
		}
	}
	return actions
}

// compare tells which outputs change. A plan has them as far as they are known.
func compare(before, after map[string]json.RawMessage) map[string]engine.Values {
	changed := map[string]engine.Values{}
	for name, v := range after {
		if string(before[name]) != string(v) { // both are written by us, keys in order
			changed[name] = engine.Values{Before: before[name], After: v}
		}
	}
	for name, v := range before {
		if _, stays := after[name]; !stays {
			changed[name] = engine.Values{Before: v}
		}
	}
	return changed
}

func names(set map[string]bool) []string {
	delete(set, "pulumi")
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}
