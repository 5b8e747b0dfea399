package terraform

import (
	"encoding/json"
	"slices"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/broletto/broletto/operator/engine"
	"github.com/broletto/broletto/operator/run"
)

// read makes a plan of what show says of it.
func read(shown *tfjson.Plan) (*engine.Plan, error) {
	plan := &engine.Plan{Outputs: map[string]engine.Values{}}
	providers := map[string]bool{}
	for _, r := range shown.ResourceChanges {
		providers[r.ProviderName] = true
		actions := actionsOf(r)
		if len(actions) == 0 {
			continue
		}
		values, err := valuesOf(r.Change)
		if err != nil {
			return nil, err
		}
		address := r.Address
		if r.DeposedKey != "" { // what a replacement could not destroy, beside the one that took its place
			address += " (deposed " + r.DeposedKey + ")"
		}
		plan.Changes = append(plan.Changes, engine.Change{Address: address, Type: r.Type, Actions: actions, Values: values})
	}
	for name, o := range shown.OutputChanges {
		if o.Actions.NoOp() {
			continue
		}
		values, err := valuesOf(o)
		if err != nil {
			return nil, err
		}
		plan.Outputs[name] = values
	}
	if shown.Config != nil {
		for _, p := range shown.Config.ProviderConfigs {
			providers[p.FullName] = true
		}
	}
	delete(providers, "")
	for p := range providers {
		plan.Providers = append(plan.Providers, p)
	}
	slices.Sort(plan.Providers)
	return plan, nil
}

// actionsOf are the actions in our words. What touches the state alone counts too, or a plan that does nothing else would be taken for
// empty and never be applied: a move or an import is an update, and what is forgotten is gone for the stack as what is deleted.
func actionsOf(r *tfjson.ResourceChange) []string {
	var actions []string
	for _, a := range r.Change.Actions {
		switch a {
		case tfjson.ActionCreate:
			actions = append(actions, run.ActionCreate)
		case tfjson.ActionUpdate:
			actions = append(actions, run.ActionUpdate)
		case tfjson.ActionDelete, tfjson.ActionForget:
			actions = append(actions, run.ActionDelete)
		case tfjson.ActionNoop, tfjson.ActionRead:
		default: // better one too many to approve than one unseen
			actions = append(actions, run.ActionUpdate)
		}
	}
	moved := r.PreviousAddress != "" && r.PreviousAddress != r.Address
	if len(actions) == 0 && (moved || r.Change.Importing != nil) {
		actions = append(actions, run.ActionUpdate)
	}
	return actions
}

// valuesOf keeps numbers as they were written: show's JSON was decoded so.
func valuesOf(c *tfjson.Change) (engine.Values, error) {
	before, err := json.Marshal(c.Before)
	if err != nil {
		return engine.Values{}, err
	}
	after, err := json.Marshal(c.After)
	if err != nil {
		return engine.Values{}, err
	}
	unknown, err := json.Marshal(c.AfterUnknown)
	return engine.Values{Before: before, After: after, Unknown: unknown}, err
}
