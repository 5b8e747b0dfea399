package run

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"

	"github.com/broletto/broletto/api/v1alpha1"
)

// Digest is what stands for a plan when it is approved: the same for the same plan, whoever makes it and when, and another as soon as any
// address, action, value or output differs. A plan's file is no such thing, as it differs each time. The key keeps it from telling
// which of a few likely values a secret has.
func Digest(key []byte, changes []Change, outputs map[string]Values) v1alpha1.Digest {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("broletto plan 1\n"))
	mac.Write(encodePlan(changes, outputs))
	return v1alpha1.Digest("hmac-sha256:" + hex.EncodeToString(mac.Sum(nil)))
}

// Passphrase is what encrypts secrets in a stack's state. It comes of the same key as digests, and none tells anything of the other.
func Passphrase(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("broletto passphrase 1\n"))
	return hex.EncodeToString(mac.Sum(nil))
}

// canonical is a change in the form that is digested. A struct's fields come in its own order, a map's keys are sorted.
type canonical struct {
	Address string          `json:"address"`
	Type    string          `json:"type"`
	Actions []string        `json:"actions"`
	Values  canonicalValues `json:"values"`
}

type canonicalValues struct {
	Before  any `json:"before"`
	After   any `json:"after"`
	Unknown any `json:"unknown"`
}

func encodePlan(changes []Change, outputs map[string]Values) []byte {
	lines := make([][]byte, 0, len(changes))
	for _, c := range changes {
		actions := append([]string{}, c.Actions...)
		lines = append(lines, encode(canonical{c.Address, c.Type, actions, canonicalOf(c.Values)}))
	}
	slices.SortFunc(lines, bytes.Compare) // by address, and where two have the same, by all the rest
	out := make(map[string]canonicalValues, len(outputs))
	for name, v := range outputs {
		out[name] = canonicalOf(v)
	}
	return append(append(bytes.Join(lines, []byte("\n")), "\n\n"...), encode(out)...)
}

func canonicalOf(v Values) canonicalValues {
	return canonicalValues{normal(v.Before), normal(v.After), normal(v.Unknown)}
}

// normal is a JSON value without what does not matter in it: spaces, the order of keys, how a character is written. Numbers keep their
// text, as a float would make two of them equal that are not. What is no JSON counts byte by byte.
func normal(raw json.RawMessage) any {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return map[string]string{"not JSON": hex.EncodeToString(raw)}
	}
	if _, err := d.Token(); err != io.EOF {
		return map[string]string{"not JSON": hex.EncodeToString(raw)}
	}
	return v
}

// encode cannot fail: it gets strings, and what came out of a JSON decoder.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("run: a decoded value cannot be encoded: " + err.Error())
	}
	return data
}
