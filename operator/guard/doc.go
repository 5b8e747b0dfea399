// Package guard keeps the admission policies of config/policies in force: made again when somebody deletes one, put right when
// somebody edits one, and told. The policies judge every request by themselves, inside the API server: when the operator is
// away, nothing is blocked by that and nothing opens. It must never weaken a policy that another version of Broletto installed.
package guard
