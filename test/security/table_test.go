package security

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// table is who may do what, for people to read.
type table struct {
	scopes []scope
	people []string
	things []thing
	cells  map[string]string // by cell: letters of verbs
}

// newTable makes a table of what is granted to people.
func newTable(scopes []scope, people []string, things []thing, granted []question) table {
	t := table{scopes, people, things, map[string]string{}}
	may := map[string]bool{}
	for _, q := range granted {
		may[cell(q.where.name, q.what, q.who.name)+q.verb] = true
	}
	for _, s := range scopes {
		for _, x := range things {
			for _, who := range people {
				for _, v := range verbs { // in their order
					if at := cell(s.name, x, who); may[at+v.verb] {
						t.cells[at] += v.letter
					}
				}
			}
		}
	}
	return t
}

func cell(scope string, x thing, who string) string {
	return strings.Join([]string{scope, x.String(), who, ""}, "|")
}

// line is what a thing has in a scope, by the people.
func (t table) line(s scope, x thing) (line []string) {
	for _, who := range t.people {
		line = append(line, t.cells[cell(s.name, x, who)])
	}
	return line
}

func empty(line []string) bool { return strings.Join(line, "") == "" }

// rows are the things by the names of their rows. Paths of one folder that are alike share a row.
func (t table) rows() (names []string, of map[string]thing) {
	alike := func(a, b thing) bool {
		return !slices.ContainsFunc(t.scopes, func(s scope) bool { return !slices.Equal(t.line(s, a), t.line(s, b)) })
	}
	first, differs := map[string]thing{}, map[string]bool{}
	for _, x := range t.things {
		if folder := folder(x); folder != "" {
			if before, seen := first[folder]; seen && !alike(before, x) {
				differs[folder] = true
			}
			first[folder] = x
		}
	}
	of = map[string]thing{}
	for _, x := range t.things {
		name := x.String()
		if folder := folder(x); folder != "" && !differs[folder] {
			name = folder + "…"
		}
		if _, has := of[name]; !has {
			names = append(names, name)
		}
		of[name] = x
	}
	return names, of
}

// folder is "/healthz/" of /healthz/etcd, and empty of /healthz and of what is no path.
func folder(x thing) string {
	if i := strings.Index(x.path[min(1, len(x.path)):], "/"); i >= 0 {
		return x.path[:i+2]
	}
	return ""
}

// String is the table as its file has it.
func (t table) String() string {
	var b strings.Builder
	fmt.Fprint(&b, "# Who may do what: the API server's own answers, of which `go test ./test/security -run TestMatrix -update` makes this file.\n#\n")
	for line := range slices.Chunk(verbs, 7) {
		var legend []string
		for _, v := range line {
			legend = append(legend, v.letter+" "+v.verb)
		}
		fmt.Fprintf(&b, "#   %s\n", strings.Join(legend, ", "))
	}
	fmt.Fprint(&b, "#\n# What has no row in a scope, nobody may do anything with there; who has no column may do nothing there. At the end stands\n"+
		"# what nobody may do anything with anywhere.\n")
	names, things := t.rows()
	nobodys := maps.Clone(things)
	for _, s := range t.scopes {
		fmt.Fprintf(&b, "\n== %s\n", s.title)
		var used []int
		for i, who := range t.people {
			if slices.ContainsFunc(t.things, func(x thing) bool { return t.cells[cell(s.name, x, who)] != "" }) {
				used = append(used, i)
			}
		}
		if len(used) == 0 {
			fmt.Fprint(&b, "# nobody, anything\n")
			continue
		}
		out := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		columns := func(name string, line []string) {
			fmt.Fprint(out, name)
			for _, i := range used {
				text := line[i]
				if text == "" {
					text = "-"
				}
				fmt.Fprint(out, "\t"+text)
			}
			fmt.Fprintln(out)
		}
		columns("#", t.people)
		for _, name := range names {
			if line := t.line(s, things[name]); !empty(line) {
				columns(name, line)
				delete(nobodys, name)
			}
		}
		_ = out.Flush() // a strings.Builder takes all
	}
	fmt.Fprint(&b, "\n== nobody, anywhere\n")
	for _, name := range names {
		if _, has := nobodys[name]; has {
			fmt.Fprintln(&b, name)
		}
	}
	return b.String()
}

// rowsOf are the things that a table's text has rows for.
func rowsOf(text string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name != "" && name != "==" && name != "#" {
			out[name] = true
		}
	}
	return out
}
