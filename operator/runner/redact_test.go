package runner

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const secret = "p@ss w<o>rd\"&\\ê\ttail"

// written are the ways in which code may write a secret.
func written(s string) map[string]string {
	out := map[string]string{
		"as it is":       s,
		"quoted":         fmt.Sprintf("%q", s),
		"hex":            hex.EncodeToString([]byte(s)),
		"capital hex":    strings.ToUpper(hex.EncodeToString([]byte(s))),
		"in a query":     url.QueryEscape(s),
		"in a path":      url.PathEscape(s),
		"base64":         base64.StdEncoding.EncodeToString([]byte(s)),
		"URL's base64":   base64.URLEncoding.EncodeToString([]byte(s)),
		"in a user's":    base64.StdEncoding.EncodeToString([]byte("admin:" + s + "@host")),
		"base64 after 1": base64.RawURLEncoding.EncodeToString([]byte("x" + s + "yz")),
		"base64 after 2": base64.RawStdEncoding.EncodeToString([]byte("xx" + s + "y")),
	}
	data, _ := json.Marshal(map[string]string{"k": s})
	out["JSON"] = string(data)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	out["JSON without HTML"] = b.String()
	return out
}

func TestRedactionFindsEveryForm(t *testing.T) {
	r := newRedactor()
	r.addJSON(mustJSON(secret))
	for name, text := range written(secret) {
		got := r.Text("before " + text + " after")
		if !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") || !strings.Contains(got, mask) || len(got) > len("before  after")+len(mask)+30 {
			t.Errorf("%s: %q became %q", name, text, got)
		}
	}
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

func TestRedactionOfStructuredInputs(t *testing.T) {
	r := newRedactor()
	r.addJSON(json.RawMessage(`{"user":"u","nested":[{"token":"token-of-service"}],"pin":123456,"short":"abc","file":"{\"private_key\":\"key-in-a-file\"}"}`))
	r.addJSON(json.RawMessage(`"-----BEGIN KEY-----\nfirst-line-of-the-key\nsecond-line-of-the-key\n-----END KEY-----\n"`))
	got := r.Text("token-of-service 123456 abc key-in-a-file\n   | second-line-of-the-key\n -----BEGIN KEY-----")
	if want := "*** *** abc ***\n   | ***\n -----BEGIN KEY-----"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRedactionOfSecretsThatOverlap(t *testing.T) {
	r := newRedactor()
	r.add("abcdef")
	r.add("defghi")
	r.add("abcd")
	for text, want := range map[string]string{
		"xabcdefghiy": "x***y", "abcdefabcd": "***", "abcd": "***", "abcabc": "abcabc", "abcdabcdef!": "***!", "zabcdez": "z***ez", "defgh abcd defghi": "defgh *** ***",
	} {
		if got := r.Text(text); got != want && got != strings.ReplaceAll(want, "***", "******") {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// However a text is cut into writes, what comes out is the same, and holds no secret.
func TestRedactionAcrossWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRedactor()
		secrets := rapid.SliceOfN(rapid.StringMatching(`[ab]{4,9}`), 1, 4).Draw(t, "secrets")
		for _, s := range secrets {
			r.add(s)
		}
		text := rapid.StringMatching(`[abc]{0,60}`).Draw(t, "text")
		var out bytes.Buffer
		w := newRedacting(r, &out, 1<<20)
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			_, _ = w.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		w.Flush()
		for _, s := range secrets {
			if strings.Contains(out.String(), s) {
				t.Fatalf("%q is in %q", s, out.String())
			}
		}
		if got, want := out.String(), r.Text(text); got != want {
			t.Fatalf("in parts %q, as a whole %q", got, want)
		}
	})
}

func TestTheLogIsBounded(t *testing.T) {
	var out bytes.Buffer
	w := newRedacting(newRedactor(), &out, 100)
	for range 50 {
		if n, err := w.Write([]byte("ten bytes\n")); n != 10 || err != nil {
			t.Fatal(n, err)
		}
	}
	w.Flush()
	if out.Len() > 200 || strings.Count(out.String(), "left out") != 1 || !strings.HasPrefix(out.String(), "ten bytes\n") {
		t.Errorf("%d bytes: %q", out.Len(), out.String())
	}
}
