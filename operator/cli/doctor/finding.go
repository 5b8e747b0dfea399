package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// State is how serious a finding is.
type State string

// States of findings.
const (
	OK   State = "ok"
	Warn State = "warn" // works, and may not be what you want
	Fail State = "fail" // does not work, or is not safe
)

// Finding is what one check has to say of one object.
type Finding struct {
	Check  string `json:"check"`
	State  State  `json:"state"`
	Object string `json:"object"`
	Cause  string `json:"cause"`
	WayOut string `json:"wayOut,omitempty"`
}

func ok(object, format string, a ...any) Finding {
	return Finding{State: OK, Object: object, Cause: fmt.Sprintf(format, a...)}
}

func warn(object, wayOut, format string, a ...any) Finding {
	return Finding{State: Warn, Object: object, WayOut: wayOut, Cause: fmt.Sprintf(format, a...)}
}

func fail(object, wayOut, format string, a ...any) Finding {
	return Finding{State: Fail, Object: object, WayOut: wayOut, Cause: fmt.Sprintf(format, a...)}
}

// failed tells how many findings are failures.
func failed(findings []Finding) (n int) {
	for _, f := range findings {
		if f.State == Fail {
			n++
		}
	}
	return n
}

func printText(out io.Writer, findings []Finding) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		text := f.Object + ": " + f.Cause
		if f.WayOut != "" {
			text += "; " + f.WayOut
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.State, f.Check, strings.Join(strings.Fields(text), " "))
	}
	return table.Flush()
}

func printJSON(out io.Writer, findings []Finding) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(slices.Concat([]Finding{}, findings)) // a list, also when it is empty
}
