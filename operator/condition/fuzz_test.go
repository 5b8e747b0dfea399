package condition_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzMessage holds for any text that a tenant may get into a message: the API server takes it, a terminal shows it as one line.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		"", "namespace lugano is ready", "a\nb", "\u202e", "\u2028", "\xff", "à", "a\u0300", strings.Repeat("🏛", 300), strings.Repeat("\xf0\x9f", 700),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := message(text)
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		if len(got) > 1024 {
			t.Errorf("%d bytes", len(got))
		}
		for _, r := range got {
			if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Errorf("%q holds %U", got, r)
			}
		}
		if again := message(got); again != got {
			t.Errorf("cleaning twice makes %q of %q", again, got)
		}
		if plain := utf8.ValidString(text) && len(text) <= 1024; plain && strings.IndexFunc(text, func(r rune) bool {
			return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
		}) < 0 && got != text {
			t.Errorf("%q became %q though nothing is wrong with it", text, got)
		}
	})
}
