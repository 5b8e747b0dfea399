package source

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"

	"github.com/broletto/broletto/operator/run"
)

// typed are the blocks with a type and a name, and what they are called when refused.
var typed = map[string]string{
	"resource": "resource", "data": "data source", "ephemeral": "ephemeral resource", "action": "action", "list": "list",
}

// top is what is looked at in a file; the rest may be as it likes.
var top = schema(
	block("terraform"), block("module", "name"), block("check", "name"), block("resource", "type", "name"),
	block("data", "type", "name"), block("ephemeral", "type", "name"), block("action", "type", "name"), block("list", "type", "name"),
)

func schema(blocks ...hcl.BlockHeaderSchema) *hcl.BodySchema { return &hcl.BodySchema{Blocks: blocks} }

func block(kind string, labels ...string) hcl.BlockHeaderSchema {
	return hcl.BlockHeaderSchema{Type: kind, LabelNames: labels}
}

// configuration looks into a file of code, in either syntax.
func (c *checker) configuration(name string) error {
	data, ok, err := c.read(name)
	if err != nil || !ok {
		return err
	}
	var file *hcl.File
	var diags hcl.Diagnostics
	if strings.HasSuffix(name, ".json") {
		file, diags = json.Parse(data, name)
	} else {
		file, diags = hclsyntax.ParseConfig(data, name, hcl.InitialPos)
	}
	// What cannot be parsed cannot be looked at; the engine would refuse it, too, and with the same words.
	if c.diagnosed(name, diags) {
		return nil
	}
	content, _, diags := file.Body.PartialContent(top)
	if c.diagnosed(name, diags) {
		return nil
	}
	for _, b := range content.Blocks {
		c.block(name, b)
	}
	if body, ok := file.Body.(*hclsyntax.Body); ok {
		c.functions(name, body)
	}
	return nil
}

func (c *checker) diagnosed(name string, diags hcl.Diagnostics) bool {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		line := 0
		if d.Subject != nil {
			line = d.Subject.Start.Line
		}
		c.refuse(name, line, "cannot be read: %s: %s", strings.TrimSuffix(d.Summary, "."), d.Detail)
		return true
	}
	return false
}

func (c *checker) block(name string, b *hcl.Block) {
	switch b.Type {
	case "terraform":
		c.settings(name, b)
	case "module":
		c.module(name, b)
	case "check": // holds data sources
		content, _, diags := b.Body.PartialContent(schema(block("data", "type", "name")))
		if !c.diagnosed(name, diags) {
			for _, inner := range content.Blocks {
				c.block(name, inner)
			}
		}
	default:
		c.typed(name, b)
	}
}

// settings looks into a terraform block.
func (c *checker) settings(name string, b *hcl.Block) {
	content, _, diags := b.Body.PartialContent(schema(block("backend", "type"), block("cloud"), block("encryption"), block("required_providers")))
	if c.diagnosed(name, diags) {
		return
	}
	for _, inner := range content.Blocks {
		line := inner.DefRange.Start.Line
		switch inner.Type {
		case "backend":
			c.refuse(name, line, "has a backend: take the block out, the operator keeps the stack's state")
		case "cloud":
			c.refuse(name, line, "has a cloud block: take it out, the operator runs the stack and keeps its state")
		case "encryption":
			c.refuse(name, line, "has an encryption block: take it out, the operator encrypts state and plans")
		case "required_providers":
			c.providers(name, inner)
		}
	}
}

// providers holds what code asks for against what it may ask for.
func (c *checker) providers(name string, b *hcl.Block) {
	if len(c.policy.Providers) == 0 {
		return
	}
	attrs, diags := b.Body.JustAttributes()
	if c.diagnosed(name, diags) {
		return
	}
	for local, attr := range attrs {
		source := "hashicorp/" + local
		if pairs, diags := hcl.ExprMap(attr.Expr); !diags.HasErrors() {
			for _, pair := range pairs {
				if key, ok := literal(pair.Key); ok && key == "source" {
					source, _ = literal(pair.Value)
				}
			}
		}
		if !run.Forbidden(c.policy.Providers, source) {
			c.refuse(name, attr.Range.Start.Line, "asks for provider %q, which the platform does not offer: use one of %s",
				source, strings.Join(c.policy.Providers, ", "))
		}
	}
}

// module lets modules be only where they are looked at.
func (c *checker) module(name string, b *hcl.Block) {
	content, _, diags := b.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}})
	if c.diagnosed(name, diags) {
		return
	}
	attr, line := content.Attributes["source"], b.DefRange.Start.Line
	if attr == nil {
		return // the engine says so
	}
	source, ok := literal(attr.Expr)
	local := strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../")
	switch to := path.Join(path.Dir(name), source); {
	case !ok || !local || strings.Contains(source, "//") || strings.ContainsAny(source, `?:\$%`):
		c.refuse(name, line, "has a module from elsewhere: put the module's code into a folder of the source, and write its path, such as ./modules/x")
	case to == ".." || strings.HasPrefix(to, "../"):
		c.refuse(name, line, "has a module outside of the source: put its folder below the stack's")
	}
}

// typed looks at a resource or data source.
func (c *checker) typed(name string, b *hcl.Block) {
	kind, line := b.Labels[0], b.DefRange.Start.Line
	what := typed[b.Type]
	switch {
	case kind == "external":
		c.refuse(name, line, "has the %s external, which runs programs: use an input variable", what)
	case run.Forbidden(c.policy.Forbidden, kind):
		c.refuse(name, line, "has a %s of type %s, which the platform rules out: take it out", what, kind)
	case kind == "terraform_remote_state":
		c.refuse(name, line, "reads another state: use an input variable, and outputsTo of the other stack")
	}
	content, _, diags := b.Body.PartialContent(schema(block("provisioner", "type"), block("connection")))
	if c.diagnosed(name, diags) {
		return
	}
	for _, inner := range content.Blocks {
		c.refuse(name, inner.DefRange.Start.Line, "has a %s block, by which programs are run: use a resource that does the same, such as a Job", inner.Type)
	}
}

// literal is the text of an expression that needs nothing to be known.
func literal(e hcl.Expression) (string, bool) {
	if key := hcl.ExprAsKeyword(e); key != "" {
		return key, true
	}
	v, diags := e.Value(nil)
	if diags.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}

// readers are the functions that read files.
var readers = regexp.MustCompile(`^(core::)?(file|filebase64|fileexists|fileset|filemd5|filesha1|filesha256|filesha512|filebase64sha256|filebase64sha512|templatefile)$`)

// functions refuses what reads files outside of the source, where that can be seen. Where it cannot, it fails in the jail, or finds what
// is in the pod anyway.
func (c *checker) functions(name string, body *hclsyntax.Body) {
	_ = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics {
		call, ok := n.(*hclsyntax.FunctionCallExpr)
		if !ok || !readers.MatchString(call.Name) || len(call.Args) == 0 {
			return nil
		}
		if p, outside := leavesTree(call.Args[0]); outside {
			c.refuse(name, call.NameRange.Start.Line, "reads %q, which is outside of the source: put the file into the source, or its text into an input variable", p)
		}
		return nil
	})
}

// leavesTree looks at the texts in an expression of a path: path.module and the like are where the code is.
func leavesTree(e hclsyntax.Expression) (string, bool) {
	var parts []string
	_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		if l, ok := n.(*hclsyntax.LiteralValueExpr); ok && l.Val.Type() == cty.String && !l.Val.IsNull() {
			parts = append(parts, l.Val.AsString())
		}
		return nil
	})
	text := strings.Join(parts, "")
	whole, known := literal(e)
	up := slices.Contains(strings.Split(text, "/"), "..")
	return text, up || known && (path.IsAbs(whole) || strings.HasPrefix(whole, "~"))
}
