package mover

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A folder of kopia's is JSON, which has no way to write a byte that is not of UTF-8, as in names in Latin-1. Such a byte is kept as NUL,
// which no name has, and two digits.

// encodeName makes UTF-8 of a name.
func encodeName(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	var b strings.Builder
	for len(name) > 0 {
		r, n := utf8.DecodeRuneInString(name)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "\x00%02x", name[0])
		} else {
			b.WriteString(name[:n])
		}
		name = name[n:]
	}
	return b.String()
}

var errHostile = errors.New("it is no name of a file")

// decodeName is the name again. What would lead elsewhere than into its folder is refused.
func decodeName(kept string) (string, error) {
	name := kept
	if strings.Contains(kept, "\x00") {
		var b strings.Builder
		for i := 0; i < len(kept); i++ {
			if kept[i] != 0 {
				b.WriteByte(kept[i])
				continue
			}
			if i+3 > len(kept) {
				return "", fmt.Errorf("%q: %w", kept, errHostile)
			}
			v, err := strconv.ParseUint(kept[i+1:i+3], 16, 8)
			if err != nil || v < utf8.RuneSelf {
				return "", fmt.Errorf("%q: %w", kept, errHostile)
			}
			b.WriteByte(byte(v))
			i += 2
		}
		name = b.String()
	}
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q: %w", kept, errHostile)
	}
	return name, nil
}
