package run

import "encoding/json"

// Change is what a plan does to one resource.
type Change struct {
	Address string `json:"address"`
	Type    string `json:"type"`
	// Actions are create, update, delete, in the order of execution; a replacement has delete and create. Reading alone is no change.
	Actions []string `json:"actions"`
	Values  `json:",inline"`
}

// Values are a value before and after, as the engine tells them, secrets included: they enter a digest, and nothing else.
type Values struct {
	Before  json.RawMessage `json:"before,omitempty"`
	After   json.RawMessage `json:"after,omitempty"`
	Unknown json.RawMessage `json:"unknown,omitempty"`
}

// What [Change.Actions] hold.
const (
	ActionCreate = "create"
	ActionUpdate = "update"
	ActionDelete = "delete"
)
