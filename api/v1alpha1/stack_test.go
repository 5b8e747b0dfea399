package v1alpha1_test

import (
	"fmt"
	"maps"
	"strings"
)

func stackRows() map[string]row {
	source := func(text string) edits { return edits("/spec/source " + text) }
	rows := map[string]row{
		"the valid one": {reason: "it says everything that can be said"},
		"the shortest one": {reason: "what is optional may be left out", edit: "/spec {workspace: sportello, engine: OpenTofu, source: {inline: {main.tf: \"\"}}}",
			gets: `/spec {"approval": "Manual", "deletionPolicy": "Destroy", "engine": "OpenTofu", "source": {"inline": {"main.tf": ""}}, "timeoutMinutes": 60, "workspace": "sportello"}`},
		"unknown field":           {reason: "a typing error must not pass", edit: "/spec/engines OpenTofu", want: `unknown field "spec.engines"`},
		"a namespace":             {reason: "no field names a namespace", edit: "/spec/namespace kube-system", want: `unknown field "spec.namespace"`},
		"a secret elsewhere":      {reason: "no field names a namespace", edit: "/spec/variablesFrom/0/namespace kube-system", want: `unknown field "spec.variablesFrom[0].namespace"`},
		"no spec":                 {reason: "nothing is not a request", edit: "/spec", want: "spec: Required value"},
		"no workspace":            {reason: "it runs somewhere", edit: "/spec/workspace", want: "spec.workspace: Required value"},
		"workspace changes":       {reason: "its objects are there", via: update, edit: "/spec/workspace other", want: "a stack stays in its workspace: make another stack"},
		"engine Terraform":        {reason: "an engine", edit: "/spec/engine Terraform"},
		"engine Pulumi":           {reason: "an engine", edit: "/spec/engine Pulumi"},
		"engine Helm":             {reason: "no engine", edit: "/spec/engine Helm", want: `spec.engine: Unsupported value: "Helm"`},
		"no engine":               {reason: "it decides what the source is", edit: "/spec/engine", want: "spec.engine: Required value"},
		"engine moves":            {reason: "the two exchange states", via: update, edit: "/spec/engine Terraform"},
		"engine moves to Pulumi":  {reason: "it cannot read the state", via: update, edit: "/spec/engine Pulumi", want: "Pulumi and the others do not read each other's state: make another stack"},
		"engine moves off Pulumi": {reason: "it cannot read the state", via: update, from: "/spec/engine Pulumi", edit: "/spec/engine OpenTofu", want: "Pulumi and the others do not read each other's state: make another stack"},
		"no source":               {reason: "there is code", edit: "/spec/source", want: "spec.source: Required value"},
		"source of nothing":       {reason: "there is code", edit: source("{}"), want: "a source is one of inline, git and oci"},
		"source of two":           {reason: "one place", edit: "/spec/source/inline {main.tf: a}", want: "a source is one of inline, git and oci"},
		"inline":                  {reason: "a source", edit: source("{inline: {main.tf: a}}")},
		"inline of none":          {reason: "there is code", edit: source("{inline: {}}"), want: "spec.source.inline in body should have at least 1 properties"},
		"inline in a folder":      {reason: "one folder", edit: source("{inline: {a/main.tf: a}}"), want: "a file's name has letters, digits, dots, dashes and underscores and no folder, for example main.tf"},
		"inline that hides":       {reason: "no configuration of the engine itself", edit: source("{inline: {.terraformrc: a}}"), want: "a file's name has letters"},
		"inline of 32":            {reason: "the upper bound", edit: put("/spec/source", map[string]any{"inline": files(32)})},
		"inline of 33":            {reason: "every map is bounded", edit: put("/spec/source", map[string]any{"inline": files(33)}), want: "spec.source.inline: Too many: 33"},
		"inline of 128 KiB":       {reason: "the upper bound", edit: put("/spec/source", map[string]any{"inline": map[string]string{"a": strings.Repeat("a", 128<<10)}})},
		"inline of more":          {reason: "every text is bounded", edit: put("/spec/source", map[string]any{"inline": map[string]string{"a": strings.Repeat("a", 128<<10+1)}}), want: "spec.source.inline.a: Too long"},
		"git without url":         {reason: "it is somewhere", edit: "/spec/source/git/url", want: "spec.source.git.url: Required value"},
		"git without revision":    {reason: "a revision is said", edit: "/spec/source/git/revision", want: "spec.source.git.revision: Required value"},
		"git by ssh":              {reason: "a transport", edit: "/spec/source/git/url ssh://git@git.example/ict/stacks.git"},
		"git by ssh, open":        {reason: "nobody would know the host", edit: "/spec/source/git/url ssh://git@git.example/ict/stacks.git\n/spec/source/git/secret", want: "ssh needs git.secret with identity and known_hosts"},
		"git by http":             {reason: "anybody could change it", edit: "/spec/source/git/url http://git.example/x.git", want: "spec.source.git.url in body should match"},
		"git of a file":           {reason: "the runner's own files", edit: "/spec/source/git/url file:///etc", want: "spec.source.git.url in body should match"},
		"git with password":       {reason: "secrets stand in secrets", edit: "/spec/source/git/url https://a:b@git.example/x.git", want: "spec.source.git.url in body should match"},
		"git of an option":        {reason: "no program takes it for an option", edit: `/spec/source/git/revision "--upload-pack=x"`, want: "spec.source.git.revision in body should match"},
		"git path up":             {reason: "it stays inside", edit: "/spec/source/git/path ../x", want: "spec.source.git.path in body should match"},
		"git path absolute":       {reason: "it stays inside", edit: "/spec/source/git/path /etc", want: "spec.source.git.path in body should match"},
		"oci":                     {reason: "a source", edit: source("{oci: {reference: \"registry.example/ict/stacks@sha256:" + long(64) + "\"}}")},
		"oci by tag":              {reason: "a tag moves", edit: source("{oci: {reference: \"registry.example/ict/stacks:v1\"}}"), want: "spec.source.oci.reference in body should match"},
		"oci without reference":   {reason: "it is somewhere", edit: source("{oci: {}}"), want: "spec.source.oci.reference: Required value"},
		"approval Automatic":      {reason: "an approval", edit: "/spec/approval Automatic"},
		"approval Later":          {reason: "no approval", edit: "/spec/approval Later", want: `spec.approval: Unsupported value: "Later"`},
		"approved by revision":    {reason: "a plan is approved, not a revision", edit: "/spec/approvedPlan v1.2.0", want: "spec.approvedPlan in body should match"},
		"no deletionPolicy Keep":  {reason: "no policy", edit: "/spec/deletionPolicy Keep", want: `spec.deletionPolicy: Unsupported value: "Keep"`},
		"deletionPolicy Orphan":   {reason: "a policy", edit: "/spec/deletionPolicy Orphan"},
		"drift Replan":            {reason: "an action", edit: "/spec/drift/action Replan"},
		"drift Apply":             {reason: "an action", edit: "/spec/drift/action Apply"},
		"drift Ignore":            {reason: "no action", edit: "/spec/drift/action Ignore", want: `spec.drift.action: Unsupported value: "Ignore"`},
		"drift by default":        {reason: "nothing is changed unasked", edit: "/spec/drift {everyHours: 1}", gets: "/spec/drift/action Report"},
		"drift never":             {reason: "leave drift out", edit: "/spec/drift {}", want: "spec.drift.everyHours: Required value"},
		"presence by default":     {reason: "it may come later", edit: "/spec/variablesFrom [{secret: a}]", gets: "/spec/variablesFrom/0/presence Optional"},
		"presence Maybe":          {reason: "no presence", edit: "/spec/variablesFrom/0/presence Maybe", want: `spec.variablesFrom[0].presence: Unsupported value: "Maybe"`},
		"variablesFrom twice":     {reason: "a map", edit: "/spec/variablesFrom [{secret: a}, {secret: a}]", want: "spec.variablesFrom[1]: Duplicate value"},
		"variablesFrom nothing":   {reason: "a secret is named", edit: "/spec/variablesFrom [{presence: Optional}]", want: "spec.variablesFrom[0].secret: Required value"},
		"outputs nowhere":         {reason: "a secret is named", edit: "/spec/outputsTo {}", want: "spec.outputsTo.secret: Required value"},
		"a secret in upper case":  {reason: "no name of a Secret", edit: "/spec/outputsTo/secret Outputs", want: "spec.outputsTo.secret in body should match"},
		"name of 40":              {reason: "names are made of it", edit: put("/metadata/name", long(40))},
		"name of 41":              {reason: "names are made of it", edit: put("/metadata/name", long(41)), want: "metadata.name is a DNS label of at most 40 characters without --, for example sportello-config"},
		"name with dots":          {reason: "a subdomain is no label", edit: "/metadata/name a.b", want: "metadata.name is a DNS label"},
		"name with two dashes":    {reason: "two names make one", edit: "/metadata/name a--b", want: "metadata.name is a DNS label"},
	}
	secrets := func(i int) map[string]string { return map[string]string{"secret": fmt.Sprint("s", i)} }
	items(rows, "/spec/variablesFrom", "spec.variablesFrom", 8, secrets)
	items(rows, "/spec/protected", "spec.protected", 64, func(i int) string { return fmt.Sprint("a.b", i) })
	properties(rows, "/spec/variables", "spec.variables", 64)
	numbers(rows, "/spec/drift/everyHours", "spec.drift.everyHours", 1, 720)
	numbers(rows, "/spec/maxDestroy", "spec.maxDestroy", 0, 10000)
	numbers(rows, "/spec/timeoutMinutes", "spec.timeoutMinutes", 1, 720)
	lengths(rows, "/spec/protected/0", "spec.protected[0]", 1, 512)
	lengths(rows, "/spec/outputsTo/secret", "spec.outputsTo.secret", 1, 253)
	lengths(rows, "/spec/source/git/revision", "spec.source.git.revision", 1, 200)
	lengths(rows, "/spec/source/git/path", "spec.source.git.path", 0, 200)
	workspaceNames(rows, creation, "/spec/workspace", "spec.workspace")
	return rows
}

func files(n int) map[string]string {
	out := map[string]string{}
	for i := range n {
		out[fmt.Sprintf("f%d.tf", i)] = ""
	}
	return out
}

func stackRunRows() map[string]row {
	rows := map[string]row{
		"the valid one":      {reason: "it says everything that can be said"},
		"it never changes":   {reason: "what ran is history", via: update, edit: "/spec/attempt 3", want: "a run never changes"},
		"operation Converge": {reason: "an operation", edit: "/spec/operation Converge"},
		"operation Import":   {reason: "no operation", edit: "/spec/operation Import", want: `spec.operation: Unsupported value: "Import"`},
		"phase Lost":         {reason: "no phase", via: status, edit: "/status/phase Lost", want: `status.phase: Unsupported value: "Lost"`},
		"class Lost":         {reason: "a class", via: status, edit: "/status/failure/class Lost"},
		"class Odd":          {reason: "no class", via: status, edit: "/status/failure/class Odd", want: `status.failure.class: Unsupported value: "Odd"`},
	}
	for _, field := range []string{"stack", "stackUID", "workspace", "operation", "engine", "attempt", "timeoutMinutes"} {
		rows["no "+field] = row{reason: "a run says what it runs", edit: edits("/spec/" + field), want: "spec." + field + ": Required value"}
	}
	maps.Copy(rows, map[string]row{
		"message of 2048": {reason: "the upper bound", via: status, edit: put("/status/failure/message", long(2048))},
		"message of 2049": {reason: "every text is bounded", via: status, edit: put("/status/failure/message", long(2049)), want: "status.failure.message: Too long"},
	})
	numbers(rows, "/spec/timeoutMinutes", "spec.timeoutMinutes", 1, 720)
	return rows
}

// items adds the rows of a list's upper bound.
func items[T any](rows map[string]row, pointer, path string, most int, item func(i int) T) {
	rows[fmt.Sprint(path, " of ", most)] = row{reason: "the upper bound", edit: put(pointer, many(most, item))}
	rows[fmt.Sprint(path, " of ", most+1)] = row{reason: "every list is bounded", edit: put(pointer, many(most+1, item)), want: fmt.Sprint(path, ": Too many: ", most+1)}
}

// properties adds the rows of a map's upper bound.
func properties(rows map[string]row, pointer, path string, most int) {
	keys := func(n int) map[string]int {
		out := map[string]int{}
		for i := range n {
			out[fmt.Sprint("k", i)] = i
		}
		return out
	}
	rows[fmt.Sprint(path, " of ", most)] = row{reason: "the upper bound", edit: put(pointer, keys(most))}
	rows[fmt.Sprint(path, " of ", most+1)] = row{reason: "every map is bounded", edit: put(pointer, keys(most+1)), want: fmt.Sprint(path, ": Too many: ", most+1)}
}

// numbers adds the rows of a number's bounds.
func numbers(rows map[string]row, pointer, path string, least, most int) {
	rows[fmt.Sprint(path, " ", least)] = row{reason: "the lower bound", edit: put(pointer, least)}
	rows[fmt.Sprint(path, " ", least-1)] = row{reason: "every number is bounded", edit: put(pointer, least-1), want: fmt.Sprint(path, " in body should be greater than or equal to ", least)}
	rows[fmt.Sprint(path, " ", most)] = row{reason: "the upper bound", edit: put(pointer, most)}
	rows[fmt.Sprint(path, " ", most+1)] = row{reason: "every number is bounded", edit: put(pointer, most+1), want: fmt.Sprint(path, " in body should be less than or equal to ", most)}
}

// lengths adds the rows of a text's bounds, for texts that may be letters.
func lengths(rows map[string]row, pointer, path string, least, most int) {
	rows[fmt.Sprint(path, " of ", most)] = row{reason: "the upper bound", edit: put(pointer, long(most))}
	rows[fmt.Sprint(path, " of ", most+1)] = row{reason: "every text is bounded", edit: put(pointer, long(most+1)), want: path + ": Too long"}
	if least > 0 {
		rows[path+" empty"] = row{reason: "nothing is no name", edit: put(pointer, ""), want: fmt.Sprint(path, " in body should ")}
		rows[path+" of one letter"] = row{reason: "the lower bound", edit: put(pointer, "a")}
	}
}
