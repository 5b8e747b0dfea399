package source

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/run"
)

// Policy is what a platform rules out beside what no stack may hold.
type Policy struct {
	// Forbidden are types of resource and data source; * at the end stands for any rest. See [run.Order].
	Forbidden []string
	// Providers are the sources of providers that code may ask for, such as hashicorp/time; * at the end stands for any rest. None: any
	// that the runner's image has.
	Providers []string
}

// Refusal is one thing that no stack may hold.
type Refusal struct {
	File   string
	Line   int // 0: the file as a whole
	Reason string
}

func (r Refusal) String() string {
	if r.Line == 0 {
		return r.File + " " + r.Reason
	}
	return fmt.Sprintf("%s:%d %s", r.File, r.Line, r.Reason)
}

// Refused is why code is refused. It is its author's turn.
type Refused struct{ Refusals []Refusal }

// shown bounds how many refusals are named at once.
const shown = 5

// Error names files, lines, why, and the way out.
func (r *Refused) Error() string {
	var lines []string
	for _, one := range r.Refusals[:min(shown, len(r.Refusals))] {
		lines = append(lines, run.Shorten(one.String(), 380))
	}
	text := "the source holds what no stack may hold: " + strings.Join(lines, "; ")
	if more := len(r.Refusals) - shown; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// Class says whose turn it is.
func (r *Refused) Class() v1alpha1.FailureClass { return v1alpha1.FailureSource }

const (
	// maxParsed bounds a file that is parsed, in bytes.
	maxParsed = 1 << 20
	// maxNesting bounds how deep one may nest: parsers recurse, and Go ends a process whose stack is full.
	maxNesting = 200
	// maxChoices bounds the conditions in a file, for the same reason.
	maxChoices = 10000
)

// checker collects refusals.
type checker struct {
	root     string
	policy   Policy
	refusals []Refusal
}

func (c *checker) refuse(file string, line int, format string, args ...any) {
	c.refusals = append(c.refusals, Refusal{file, line, fmt.Sprintf(format, args...)})
}

// Check refuses code that no stack may have, as a [Refused]. It reads every file that an engine would, wherever it is.
func Check(dir string, engine v1alpha1.EngineName, p Policy) error {
	c := &checker{root: dir, policy: p}
	look := c.hcl
	if engine == v1alpha1.Pulumi {
		look = c.pulumi
	}
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil || full == dir {
			return err
		}
		name, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			c.folder(name)
			return nil
		case !d.Type().IsRegular():
			c.refuse(name, 0, "is neither a file nor a folder: put a copy of what it leads to in its place")
			return nil
		case links(info) > 1:
			c.refuse(name, 0, "is a second name of another file: put a copy in its place")
			return nil
		}
		return look(name)
	})
	if err != nil {
		return fmt.Errorf("reading the source: %w", err)
	}
	if engine == v1alpha1.Pulumi {
		c.wantsProject()
	}
	if len(c.refusals) > 0 {
		slices.SortStableFunc(c.refusals, func(a, b Refusal) int { return strings.Compare(a.File, b.File) })
		return &Refused{c.refusals}
	}
	return nil
}

func (c *checker) folder(name string) {
	if base := path.Base(name); base == ".terraform" || base == ".pulumi" || base == "terraform.tfstate.d" || base == ".git" {
		c.refuse(name, 0, "is what an engine or git keeps for itself: take it out of the source")
	}
}

// read reads a file that is to be parsed; false: it was refused.
func (c *checker) read(name string) ([]byte, bool, error) {
	data, err := os.ReadFile(filepath.Join(c.root, filepath.FromSlash(name)))
	if err != nil {
		return nil, false, err
	}
	if len(data) > maxParsed {
		c.refuse(name, 0, "is larger than %d KiB: split it", maxParsed>>10)
		return nil, false, nil
	}
	if line := tooDeep(data); line > 0 {
		c.refuse(name, line, "nests deeper than %d levels: write it flatter", maxNesting)
		return nil, false, nil
	}
	return data, true, nil
}

// tooDeep says in which line brackets nest too deep, or signs that a parser takes one by one recur too often; 0: nowhere. It knows no
// strings and no comments, so it may count what is none.
func tooDeep(data []byte) int {
	depth, signs, choices, line := 0, 0, 0, 1
	for _, b := range data {
		switch b {
		case '\n':
			line++
		case ' ', '\t', '\r':
		case '(', '[', '{':
			depth++
			signs = 0
		case ')', ']', '}':
			depth = max(0, depth-1)
			signs = 0
		case '?':
			choices++
			signs++
		case '!', ':', '-':
			signs++ // a ruler of dashes in a comment is fine as long as it is a ruler and no wall
		case '#', '/':
		default:
			signs = 0
		}
		if depth > maxNesting || signs > 4*maxNesting || choices > maxChoices {
			return line
		}
	}
	return 0
}

var (
	override = regexp.MustCompile(`(^|_)override\.(tf|tofu)(\.json)?$`)
	values   = regexp.MustCompile(`(\.auto\.tfvars|^terraform\.tfvars)(\.json)?$`)
	state    = regexp.MustCompile(`\.tfstate(\.|$)`)
	settings = regexp.MustCompile(`^(\.terraformrc|terraform\.rc|\.tofurc|tofu\.rc)$`)
	code     = regexp.MustCompile(`\.(tf|tofu)(\.json)?$`)
)

// hcl looks at a file of OpenTofu's or Terraform's.
func (c *checker) hcl(name string) error {
	switch base := path.Base(name); {
	case override.MatchString(base):
		c.refuse(name, 0, "overrides other files: write what it says into them")
	case values.MatchString(base):
		c.refuse(name, 0, "sets variables behind the stack's back: set them in spec.variables or spec.variablesFrom")
	case state.MatchString(base):
		c.refuse(name, 0, "is a state, which may hold secrets: take it out, the operator keeps the stack's state")
	case settings.MatchString(base):
		c.refuse(name, 0, "is a configuration of the engine: take it out, the operator brings its own")
	case code.MatchString(base):
		return c.configuration(name)
	}
	return nil
}
