package v1alpha1_test

import "fmt"

func serviceOfferingRows() map[string]row {
	price := func(i int) map[string]string {
		return map[string]string{"unit": fmt.Sprint("u", i), "price": "1", "from": "2018-10-01"}
	}
	manifest := func(i int) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprint("a", i)}}
	}
	rows := map[string]row{
		"the valid one": {reason: "it says everything that can be said"},
		"the shortest one": {reason: "what works without more",
			edit: "/spec {consortium: varese, version: 0.1.0, procurement: {authority: provincia, state: Planned}, provisions: {manifests: []}}",
			gets: "/spec/dataClasses [Ordinary]"},
		"unknown field":         {reason: "a typing error must not pass", edit: "/spec/price []", want: `unknown field "spec.price"`},
		"no spec":               {reason: "nothing is no offer", edit: "/spec", want: "spec: Required value"},
		"name of 63":            {reason: "the upper bound", edit: put("/metadata/name", long(63))},
		"name of 64":            {reason: "a label of Kubernetes", edit: put("/metadata/name", long(64)), want: "metadata.name is a DNS label of at most 63 characters"},
		"name with a dot":       {reason: "a subdomain is no label", edit: "/metadata/name albo.pretorio", want: "metadata.name is a DNS label"},
		"no consortium":         {reason: "somebody offers it", edit: "/spec/consortium", want: "spec.consortium: Required value"},
		"consortium empty":      {reason: "somebody offers it", edit: `/spec/consortium ""`, want: "spec.consortium"},
		"consortium changes":    {reason: "others would lose it", via: update, edit: "/spec/consortium ticino", want: "an offering stays in its consortium: make another one"},
		"no version":            {reason: "instances follow it", edit: "/spec/version", want: "spec.version: Required value"},
		"version 1.0":           {reason: "not semantic", edit: `/spec/version "1.0.x"`, want: "spec.version"},
		"version with a zero":   {reason: "not semantic", edit: `/spec/version "01.0.0"`, want: "spec.version"},
		"version 1.0.0-rc.1":    {reason: "semantic", edit: `/spec/version "1.0.0-rc.1"`},
		"version changes":       {reason: "an upgrade", via: update, edit: `/spec/version "1.1.0"`},
		"audience Tourists":     {reason: "no audience", edit: "/spec/audience [Tourists]", want: `spec.audience[0]: Unsupported value: "Tourists"`},
		"audience twice":        {reason: "a set", edit: "/spec/audience [Citizens, Citizens]", want: "spec.audience[1]: Duplicate value"},
		"channel Fax":           {reason: "no channel", edit: "/spec/channels [Fax]", want: `spec.channels[0]: Unsupported value: "Fax"`},
		"channel twice":         {reason: "a set", edit: "/spec/channels [Counter, Counter]", want: "spec.channels[1]: Duplicate value"},
		"no data class":         {reason: "the lowest by default", edit: "/spec/dataClasses", gets: "/spec/dataClasses [Ordinary]"},
		"data classes of none":  {reason: "it holds some data", edit: "/spec/dataClasses []", want: "spec.dataClasses"},
		"all data classes":      {reason: "the upper bound", edit: "/spec/dataClasses [Ordinary, Critical, Strategic]"},
		"data class Secret":     {reason: "no class of the law", edit: "/spec/dataClasses [Secret]", want: `spec.dataClasses[0]: Unsupported value: "Secret"`},
		"no procurement":        {reason: "somebody tenders it", edit: "/spec/procurement", want: "spec.procurement: Required value"},
		"no authority":          {reason: "somebody tenders it", edit: "/spec/procurement/authority", want: "spec.procurement.authority: Required value"},
		"no state":              {reason: "it decides", edit: "/spec/procurement/state", want: "spec.procurement.state: Required value"},
		"state Lost":            {reason: "no state", edit: "/spec/procurement/state Lost", want: `spec.procurement.state: Unsupported value: "Lost"`},
		"awarded without a day": {reason: "nothing is provisioned before it", edit: "/spec/procurement/awardedOn", want: `an award has a day, for example awardedOn: "2018-10-01"`},
		"tendering":             {reason: "no day yet", edit: "/spec/procurement/awardedOn\n/spec/procurement/state Tendering"},
		"expired":               {reason: "what runs goes on", via: update, edit: "/spec/procurement/state Expired"},
		"awarded on no day":     {reason: "a day", edit: `/spec/procurement/awardedOn "2018-02-30"`, want: "spec.procurement.awardedOn"},
		"parameters of none":    {reason: "nothing may be said", edit: "/spec/parameters"},
		"parameters as text":    {reason: "the operator refuses it, with the way out", edit: `/spec/parameters "text"`},
		"no provisions":         {reason: "it gives something", edit: "/spec/provisions", want: "spec.provisions: Required value"},
		"provisions of nothing": {reason: "it says which", edit: "/spec/provisions {}", want: "spec.provisions in body should have at least 1 properties"},
		"both":                  {reason: "one of them", edit: "/spec/provisions/stack {engine: OpenTofu, source: {inline: {main.tf: x}}}", want: "spec.provisions: Too many: 2"},
		"a stack":               {reason: "one of them", edit: "/spec/provisions {stack: {engine: OpenTofu, source: {inline: {main.tf: x}}}}"},
		"a stack of no engine":  {reason: "something runs it", edit: "/spec/provisions {stack: {source: {inline: {main.tf: x}}}}", want: "spec.provisions.stack.engine: Required value"},
		"a stack of two codes":  {reason: "one is the code", edit: "/spec/provisions {stack: {engine: Pulumi, source: {inline: {a: x}, git: {url: 'https://git.example/a', revision: main}}}}", want: "a source is one of inline, git and oci"},
		"a manifest as text":    {reason: "an object", edit: "/spec/provisions/manifests [text]", want: "spec.provisions.manifests[0]"},
		"manifests of 32":       {reason: "the upper bound", edit: put("/spec/provisions/manifests", many(32, manifest))},
		"manifests of 33":       {reason: "every list is bounded", edit: put("/spec/provisions/manifests", many(33, manifest)), want: "spec.provisions.manifests: Too many: 33"},
		"prices of 64":          {reason: "the upper bound", edit: put("/spec/prices", many(64, price))},
		"prices of 65":          {reason: "every list is bounded", edit: put("/spec/prices", many(65, price)), want: "spec.prices: Too many: 65"},
		"a price twice":         {reason: "one price a day", edit: put("/spec/prices", []any{price(1), price(1)}), want: "spec.prices[1]: Duplicate value"},
		"a price of no unit":    {reason: "a price of something", edit: "/spec/prices/0/unit", want: "spec.prices[0].unit: Required value"},
		"a negative price":      {reason: "a price", edit: `/spec/prices/0/price "-1"`, want: "spec.prices[0].price"},
		"a price of 7 decimals": {reason: "exact to six", edit: `/spec/prices/0/price "1.1234567"`, want: "spec.prices[0].price"},
		"a price of 6 decimals": {reason: "exact to six", edit: `/spec/prices/0/price "1.123456"`},
		"a price as number":     {reason: "a number is not exact", edit: "/spec/prices/0/price 42.5", want: "spec.prices[0].price"},
		"a price of no day":     {reason: "from when", edit: "/spec/prices/0/from", want: "spec.prices[0].from: Required value"},
	}
	lines(rows, "displayName", "/spec/displayName", 120, "Albo pretorio online")
	statusRows(rows, "Albo pretorio online")
	rows["status: demand below zero"] = row{reason: "a count", via: status, edit: "/status/demand/quantity -1", want: "status.demand.quantity"}
	rows["status: rule of another type"] = row{reason: "a type of a schema", via: status, edit: "/status/rules/0/type object", want: `status.rules[0].type: Unsupported value: "object"`}
	return rows
}

func serviceInstanceRows() map[string]row {
	parameter := func(n int) map[string]int {
		out := map[string]int{}
		for i := range n {
			out[fmt.Sprint("p", i)] = i
		}
		return out
	}
	object := func(i int) string { return fmt.Sprint("v1 ConfigMap/a", i) }
	label := "metadata.name is a DNS label of at most 31 characters without --, for example albo"
	rows := map[string]row{
		"the valid one":                {reason: "it says everything that can be said"},
		"the shortest one":             {reason: "what works without more", edit: "/spec {offering: albo-pretorio, workspace: sito}", gets: "/spec/quantity 1"},
		"unknown field":                {reason: "a typing error must not pass", edit: "/spec/parameter {}", want: `unknown field "spec.parameter"`},
		"a namespace":                  {reason: "no field names a namespace", edit: "/spec/namespace kube-system", want: `unknown field "spec.namespace"`},
		"no spec":                      {reason: "nothing is not a request", edit: "/spec", want: "spec: Required value"},
		"name of 31":                   {reason: "the upper bound", edit: put("/metadata/name", long(31))},
		"name of 32":                   {reason: "its stack has a name of its own", edit: put("/metadata/name", long(32)), want: label},
		"name with two dashes":         {reason: "they separate names", edit: "/metadata/name a--b", want: label},
		"name with a dot":              {reason: "a subdomain is no label", edit: "/metadata/name a.b", want: label},
		"no offering":                  {reason: "of what", edit: "/spec/offering", want: "spec.offering: Required value"},
		"offering of 64":               {reason: "no name of an offering", edit: put("/spec/offering", long(64)), want: "spec.offering: Too long"},
		"offering in upper case":       {reason: "no name of an offering", edit: "/spec/offering Albo", want: "spec.offering"},
		"offering changes":             {reason: "another service", via: update, edit: "/spec/offering altro", want: "an instance keeps its offering and its workspace: make another one"},
		"no workspace":                 {reason: "where", edit: "/spec/workspace", want: "spec.workspace: Required value"},
		"workspace changes":            {reason: "nothing moves", via: update, edit: "/spec/workspace altro", want: "an instance keeps its offering and its workspace: make another one"},
		"parameters change":            {reason: "it is applied anew", via: update, edit: "/spec/parameters/repliche 3"},
		"parameters of 64":             {reason: "the upper bound", edit: put("/spec/parameters", parameter(64))},
		"parameters of 65":             {reason: "every map is bounded", edit: put("/spec/parameters", parameter(65)), want: "spec.parameters: Too many: 65"},
		"parameters of every type":     {reason: "any JSON", edit: `/spec/parameters {a: 1, b: 1.5, c: true, d: [x, 1], e: {f: null}}`},
		"quantity of 0":                {reason: "who asks for nothing does not ask", edit: "/spec/quantity 0", want: "spec.quantity"},
		"quantity of a million":        {reason: "the upper bound", edit: "/spec/quantity 1000000"},
		"quantity of more":             {reason: "every number is bounded", edit: "/spec/quantity 1000001", want: "spec.quantity"},
		"quantity changes":             {reason: "one may ask for more", via: update, edit: "/spec/quantity 13"},
		"version latest":               {reason: "no version", edit: "/spec/version latest", want: "spec.version"},
		"version goes":                 {reason: "it follows the offering again", via: update, edit: "/spec/version"},
		"status: objects of 64":        {reason: "the upper bound", via: status, edit: put("/status/objects", many(64, object))},
		"status: objects of 65":        {reason: "every list is bounded", via: status, edit: put("/status/objects", many(65, object)), want: "status.objects: Too many: 65"},
		"status: an object twice":      {reason: "a set", via: status, edit: put("/status/objects", []string{"a", "a"}), want: "status.objects[1]: Duplicate value"},
		"status: upgrade to what":      {reason: "to a version", via: status, edit: "/status/upgrade/version", want: "status.upgrade.version: Required value"},
		"status: long name of a stack": {reason: "bounded", via: status, edit: put("/status/stack", long(41)), want: "status.stack: Too long"},
	}
	workspaceNames(rows, creation, "/spec/workspace", "spec.workspace")
	statusRows(rows, "")
	delete(rows, "status: spec of the operator's hand") // it has no display name; the next row asks the same
	rows["status: quantity of the operator's hand"] = row{reason: "the subresource takes a status only", via: status, edit: "/spec/quantity 7", gets: "/spec/quantity 12"}
	return rows
}
