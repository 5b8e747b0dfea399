package source

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/broletto/broletto/operator/run"
)

// project is the file that names a Pulumi project and, in YAML, holds the program.
const project = "Pulumi.yaml"

var (
	otherProject = regexp.MustCompile(`(?i)^Pulumi\.(yml|json)$`)
	stackConfig  = regexp.MustCompile(`(?i)^Pulumi\..+\.(yaml|yml|json)$`)
	program      = regexp.MustCompile(`(?i)^(Main|Pulumi|PulumiPlugin)\.(yaml|yml|json)$`)
	// sections are what a program may have: what is not known to be harmless is not let in.
	sections = []string{"name", "description", "author", "website", "license", "runtime", "config", "configuration", "variables", "resources", "outputs", "tags"}
)

// pulumi looks at a file of Pulumi's.
func (c *checker) pulumi(name string) error {
	switch base := path.Base(name); {
	case base != project && strings.EqualFold(base, project), otherProject.MatchString(base):
		c.refuse(name, 0, "is a project's file under another name: call it %s", project)
	case stackConfig.MatchString(base):
		c.refuse(name, 0, "is the configuration of a Pulumi stack: set it in spec.variables or spec.variablesFrom")
	case program.MatchString(base):
		return c.program(name)
	}
	return nil
}

func (c *checker) wantsProject() {
	if _, err := os.Stat(filepath.Join(c.root, project)); err != nil {
		c.refuse(project, 0, "is not there: a Pulumi stack has it in its folder, with runtime: yaml")
	}
}

// program looks into a project's file, or a program's.
func (c *checker) program(name string) error {
	data, ok, err := c.read(name)
	if err != nil || !ok {
		return err
	}
	var doc, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&doc); err != nil {
		c.refuse(name, 0, "cannot be read: %s", err)
		return nil
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		c.refuse(name, 0, "has more than one document: write one")
		return nil
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		c.refuse(name, 0, "is no project: it begins with name: and runtime: yaml")
		return nil
	}
	runtime := false
	for key, value := range pairs(doc.Content[0]) {
		switch {
		case !slices.Contains(sections, key.Value):
			c.refuse(name, key.Line, "has %q, which no stack may have: take it out (known are %s)", run.Shorten(key.Value, 60), strings.Join(sections, ", "))
		case key.Value == "runtime":
			runtime = true
			c.runtime(name, value)
		}
	}
	if !runtime && path.Base(name) == project {
		c.refuse(name, 0, "names no runtime: write runtime: yaml")
	}
	c.node(name, doc.Content[0], 0)
	return nil
}

// runtime lets programs in YAML be run, and nothing that compiles to them.
func (c *checker) runtime(name string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Value == "yaml" {
		return
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "name" && n.Content[1].Value == "yaml" {
		return
	}
	c.refuse(name, n.Line, "has another runtime than yaml, or options of it: write runtime: yaml")
}

// node looks at everything, wherever it is: a name in a program says what it is.
func (c *checker) node(name string, n *yaml.Node, depth int) {
	if depth > maxNesting {
		c.refuse(name, n.Line, "nests deeper than %d levels: write it flatter", maxNesting)
		return
	}
	if n.Kind == yaml.SequenceNode {
		for _, e := range n.Content {
			c.node(name, e, depth+1)
		}
	}
	if n.Kind != yaml.MappingNode {
		return // what an alias stands for is looked at where it stands
	}
	for key, value := range pairs(n) {
		c.entry(name, key, value)
		c.node(name, value, depth+1)
	}
}

func (c *checker) entry(name string, key, value *yaml.Node) {
	word, isFunction := strings.CutPrefix(key.Value, "fn::")
	text := value.Value
	if value.Kind == yaml.AliasNode {
		text = value.Alias.Value
	}
	switch {
	case key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || key.Value == "<<":
		c.refuse(name, key.Line, "has a key that is an alias or a merge: write it out")
	case strings.EqualFold(key.Value, "pluginDownloadURL"):
		c.refuse(name, key.Line, "gets a plugin from elsewhere: take pluginDownloadURL out, the runner brings its plugins")
	case key.Value == "type" || key.Value == "function":
		c.token(name, key.Line, text)
	case isFunction && strings.EqualFold(word, "stackReference"), strings.EqualFold(text, "pulumi:pulumi:StackReference"):
		c.refuse(name, key.Line, "reads another stack: use an input variable, and outputsTo of the other stack")
	case isFunction && slices.ContainsFunc([]string{"readFile", "fileAsset", "fileArchive"}, func(f string) bool { return strings.EqualFold(f, word) }):
		if path.IsAbs(text) || slices.Contains(strings.Split(text, "/"), "..") {
			c.refuse(name, key.Line, "reads %q, which is outside of the source: put the file into the source, or its text into an input variable", text)
		}
	case isFunction && slices.ContainsFunc([]string{"remoteAsset", "remoteArchive"}, func(f string) bool { return strings.EqualFold(f, word) }):
		c.refuse(name, key.Line, "reads from another server: put the file into the source")
	case isFunction:
		c.token(name, key.Line, word)
	}
}

// token holds a type or function against what the platform rules out; it may be written with or without its module.
func (c *checker) token(name string, line int, token string) {
	if strings.EqualFold(token, "pulumi:pulumi:StackReference") {
		c.refuse(name, line, "reads another stack: use an input variable, and outputsTo of the other stack")
		return
	}
	if run.Forbidden(c.policy.Forbidden, token) {
		c.refuse(name, line, "has %s, which the platform rules out: take it out", token)
	}
}

// pairs are the entries of a mapping.
func pairs(n *yaml.Node) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}
