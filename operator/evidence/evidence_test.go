package evidence

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRoundTrip(t *testing.T) {
	at := time.Date(2026, 11, 24, 9, 30, 0, 123, time.FixedZone("CET", 3600))
	in := Network{
		"node-1": {UID: "u1", Enforced: true, At: at},
		"node-2": {UID: "u2", At: at, Seen: `TCP from node-1 to node-2, "closed" by ingress`},
	}
	written, err := in.ConfigMap("broletto-system")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"node-1": `{"uid":"u1","enforced":true,"at":"2026-11-24T08:30:00Z"}`,
		"node-2": `{"uid":"u2","enforced":false,"at":"2026-11-24T08:30:00Z","seen":"TCP from node-1 to node-2, \"closed\" by ingress"}`,
	}
	if diff := cmp.Diff(want, written.Data); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	out, err := Read(written.Data)
	if err != nil {
		t.Fatal(err)
	}
	for name, node := range in {
		node.At = node.At.UTC().Truncate(time.Second)
		in[name] = node
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
}

func TestReadRefuses(t *testing.T) {
	const sound = `{"uid":"u1","enforced":true,"at":"2026-11-24T08:30:00Z"}`
	if _, err := Read(map[string]string{"node-1": sound}); err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		"nothing":                        "",
		"no JSON":                        "enforced, I swear",
		"another type":                   `{"uid":"u1","enforced":"true","at":"2026-11-24T08:30:00Z"}`,
		"a field that nobody knows":      `{"uid":"u1","enforced":true,"at":"2026-11-24T08:30:00Z","by":"me"}`,
		"a field twice":                  `{"uid":"u1","enforced":false,"enforced":true,"at":"2026-11-24T08:30:00Z"}`,
		"two documents":                  sound + sound,
		"no node":                        `{"enforced":true,"at":"2026-11-24T08:30:00Z"}`,
		"no time":                        `{"uid":"u1","enforced":true}`,
		"no time that there is":          `{"uid":"u1","enforced":true,"at":"yesterday"}`,
		"enforced, and something passed": `{"uid":"u1","enforced":true,"at":"2026-11-24T08:30:00Z","seen":"TCP"}`,
		"not enforced, nothing passed":   `{"uid":"u1","enforced":false,"at":"2026-11-24T08:30:00Z"}`,
		"too long a text":                `{"uid":"u1","enforced":false,"at":"2026-11-24T08:30:00Z","seen":"` + strings.Repeat("x", MaxSeen+1) + `"}`,
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			if network, err := Read(map[string]string{"node-1": sound, "node-2": text}); err == nil || network != nil {
				t.Errorf("%s is believed: %v, %v", text, network, err)
			} else if !strings.Contains(err.Error(), "node-2") {
				t.Errorf("the error does not name the key: %v", err)
			}
		})
	}
}
