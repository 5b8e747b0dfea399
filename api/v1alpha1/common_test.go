package v1alpha1_test

import "fmt"

// What several kinds share is tested in each of them: a rule belongs to the place where it stands.

// lines are the rows of a text of one line, a field, at pointer.
func lines(rows map[string]row, field, pointer string, maximum int, example string) {
	rule := field + " is one line in NFC without control, bidirectional or invisible characters and without blanks around it, for example " + example
	for name, r := range map[string]row{
		"accented":             {reason: "names are Italian, French, German and Romansh", edit: put(pointer, "Città di Sülzen-l’Étang n. 1 (TI) & C.")},
		"of the longest":       {reason: "the upper bound counts characters, not bytes", edit: put(pointer, "à"+long(maximum-1))},
		"too long":             {reason: "every text is bounded", edit: put(pointer, long(maximum+1)), want: fmt.Sprintf("Too long: may not be more than %d", maximum)},
		"of a control":         {reason: "it is printed on terminals", edit: put(pointer, "a\u0007b"), want: rule},
		"of two lines":         {reason: "one line", edit: put(pointer, "a\nb"), want: rule},
		"turned around":        {reason: "U+202E makes one name look like another", edit: put(pointer, "a\u202Eb"), want: rule},
		"of a zero-width join": {reason: "invisible characters make two names look like one", edit: put(pointer, "a\u200Db"), want: rule},
		"decomposed":           {reason: "NFC: à is one character", edit: put(pointer, "Citta\u0300"), want: rule},
		"of a line separator":  {reason: "one line", edit: put(pointer, "a\u2028b"), want: rule},
		"of a paragraph":       {reason: "one line", edit: put(pointer, "a\u2029b"), want: rule},
		"of an Angstrom":       {reason: "NFC: Å is U+00C5", edit: put(pointer, "\u212B"), want: rule},
		"of an en quad":        {reason: "NFC: it is U+2002", edit: put(pointer, "a\u2000b"), want: rule},
		"of a foreign grave":   {reason: "NFC: it is U+0060", edit: put(pointer, "a\u1FEFb"), want: rule},
		"of a blank":           {reason: "a blank is no name", edit: put(pointer, " "), want: rule},
		"with a blank before":  {reason: "two names must not differ in blanks", edit: put(pointer, " a"), want: rule},
		"with a blank after":   {reason: "two names must not differ in blanks", edit: put(pointer, "a\u00A0"), want: rule},
		"as a number":          {reason: "text is text", edit: edits(pointer + " 4"), want: `must be of type string: "integer"`},
	} {
		rows[pointer+" "+name] = r
	}
	if example == "Sportello online" || example == "Albo pretorio online" { // those that may be left out
		return
	}
	rows[pointer+" empty"] = row{reason: "it is required", edit: put(pointer, ""), want: "in body should be at least 1 chars long"}
	rows[pointer+" of one letter"] = row{reason: "the lower bound", edit: put(pointer, "Y")}
	if last := pointer[len(pointer)-1]; last < '0' || last > '9' { // an item of a list cannot be absent
		rows[pointer+" absent"] = row{reason: "it is required", edit: edits(pointer), want: "Required value"}
	}
}

// dates are the rows of a date at pointer. Order among dates is tested where it is asked for.
func dates(rows map[string]row, pointer, path string, required bool) {
	for name, r := range map[string]row{
		"of no calendar":  {reason: "February has 29 days at most", edit: put(pointer, "2024-02-30"), want: path + ` in body must be of type date: "2024-02-30"`},
		"of short form":   {reason: "one day has one form", edit: put(pointer, "2024-2-3"), want: path + " in body should be at least 10 chars long"},
		"with a time":     {reason: "a day is no instant", edit: put(pointer, "2024-04-04T00:00:00Z"), want: path + ": Too long"},
		"of last century": {reason: "the first day", edit: put(pointer, "1899-12-31"), want: `a date is a day since 1900, for example "2024-04-04"`},
		"as a list":       {reason: "Go cannot read it, and one such object stops the List of its kind", edit: edits(pointer + " []"), want: path + ": Invalid value"},
		"of month 13":     {reason: "a year has 12", edit: put(pointer, "2024-13-01"), want: "must be of type date"},
		"in European":     {reason: "one day has one form", edit: put(pointer, "04.04.2024"), want: "must be of type date"},
		"as a number":     {reason: "text is text", edit: edits(pointer + " 20240404"), want: path + " in body must be of type date"},
		"empty":           {reason: "no day is not a day", edit: put(pointer, ""), want: path + " in body should be at least 10 chars long"},
	} {
		rows["date "+path+" "+name] = r
	}
	r := row{reason: "no end is known", edit: edits(pointer)}
	if required {
		r = row{reason: "everything counts from it", edit: edits(pointer), want: path + ": Required value"}
	}
	rows["date "+path+" absent"] = r
	r.reason, r.edit = "null is no day", edits(pointer+" null")
	rows["date "+path+" null"] = r
}

// tenantNames are the rows of a reference to a tenant at pointer.
func tenantNames(rows map[string]row, pointer, path string, required bool) {
	rule := "a tenant's name is a DNS label of at most 30 characters without --, for example lugano"
	for name, r := range map[string]row{
		"of 30":         {reason: "the upper bound", edit: put(pointer, long(30))},
		"of 31":         {reason: "no tenant has such a name", edit: put(pointer, long(31)), want: path + ": Too long"},
		"of one letter": {reason: "the lower bound", edit: put(pointer, "l")},
		"empty":         {reason: "no name is not a name", edit: put(pointer, ""), want: path + " in body should be at least 1 chars long"},
		"Lugano":        {reason: "a label is in lower case", edit: put(pointer, "Lugano"), want: rule},
		"a--b":          {reason: "it parts tenant and workspace in namespaces", edit: put(pointer, "a--b"), want: rule},
		"-a":            {reason: "a label begins with a letter or digit", edit: put(pointer, "-a"), want: rule},
	} {
		rows[path+" "+name] = r
	}
	if required {
		rows[path+" absent"] = row{reason: "it is required", edit: edits(pointer), want: path + ": Required value"}
	}
}

// cidrs are the rows of an address range at pointer.
func cidrs(rows map[string]row, pointer, path string) {
	rule := path + `: Invalid value: "%s": a CIDR is an address range without host bits, in canonical form, for example 203.0.113.0/24 or 2001:db8::/32`
	for text, why := range map[string]string{
		"0.0.0.0/0": "all of one family", "::/0": "all of the other, and the lower bound of length", "198.51.100.7/32": "one address",
		"2001:db8::/32": "IPv6", "2001:db8:1111:2222:3333:4444:5555:6666/128": "one address, and nearly the upper bound of length",
	} {
		rows[path+" "+text] = row{reason: why, edit: put(pointer, text)}
	}
	for text, why := range map[string]string{
		"10.0.0.1/8": "host bits", "10.0.0.0": "an address is no range", "10.0.0.0/33": "an address has 32 bits",
		"::ffff:10.0.0.0/104": "IPv4 in disguise", "2001:DB8::/32": "not canonical", "2001:db8:0::/48": "not canonical",
		"010.0.0.0/8": "octal or decimal?", "fe80::%eth0/64": "a zone is of one machine", "10.0.0.0/08": "not canonical",
		"a.b.c.d/8": "no address",
	} {
		rows[path+" "+text] = row{reason: why, edit: put(pointer, text), want: fmt.Sprintf(rule, text)}
	}
	rows[path+" of 3"] = row{reason: "nothing is so short", edit: put(pointer, "::0"), want: path + " in body should be at least 4 chars long"}
	rows[path+" of 44"] = row{reason: "nothing is so long", edit: put(pointer, long(44)), want: path + ": Too long"}
	rows[path+" of 43"] = row{reason: "the upper bound", edit: put(pointer, long(43)), want: fmt.Sprintf(rule, long(43))}
}

// labelsAt are the rows of a DNS label of 63 characters at pointer.
func labelsAt(rows map[string]row, pointer, path, rule string) {
	for name, r := range map[string]row{
		"of 63":         {reason: "the upper bound", edit: put(pointer, long(63))},
		"of 64":         {reason: "a label has 63 characters", edit: put(pointer, long(64)), want: path + ": Too long"},
		"of one letter": {reason: "the lower bound", edit: put(pointer, "d")},
		"empty":         {reason: "no name is not a name", edit: put(pointer, ""), want: path + " in body should be at least 1 chars long"},
		"Dati":          {reason: "a label is in lower case", edit: put(pointer, "Dati"), want: rule},
		"a.b":           {reason: "a label has no dots", edit: put(pointer, "a.b"), want: rule},
		"a-":            {reason: "a label ends in a letter or digit", edit: put(pointer, "a-"), want: rule},
	} {
		rows[path+" "+name] = r
	}
}

// hostnames are the rows of a DNS name at pointer, an item of a list.
func hostnames(rows map[string]row, pointer, path, rule string) {
	label := long
	of253 := label(63) + "." + label(63) + "." + label(63) + "." + label(61)
	for name, r := range map[string]row{
		"of two labels":      {reason: "the shortest in use", edit: put(pointer, "a.bc")},
		"in punycode":        {reason: "how other alphabets are written", edit: put(pointer, "xn--citt-0ra.example")},
		"of 63 in a label":   {reason: "the upper bound", edit: put(pointer, label(63)+".example")},
		"of 64 in a label":   {reason: "DNS has no such name", edit: put(pointer, label(64)+".example"), want: rule},
		"of 64 at the end":   {reason: "DNS has no such name", edit: put(pointer, "a."+label(64)), want: rule},
		"of 253":             {reason: "the upper bound", edit: put(pointer, of253)},
		"of 254":             {reason: "DNS has no such name", edit: put(pointer, of253+"a"), want: path + ": Too long"},
		"of 3":               {reason: "nothing is so short", edit: put(pointer, "a.b"), want: path + " in body should be at least 4 chars long"},
		"of one label":       {reason: "nobody holds a whole top-level domain", edit: put(pointer, "example"), want: rule},
		"with a wildcard":    {reason: "it would be everybody's", edit: put(pointer, "*.lugano.example"), want: rule},
		"with a dot after":   {reason: "one name has one form", edit: put(pointer, "lugano.example."), want: rule},
		"with a dot before":  {reason: "one name has one form", edit: put(pointer, ".lugano.example"), want: rule},
		"in upper case":      {reason: "one name has one form", edit: put(pointer, "Lugano.example"), want: rule},
		"in Unicode":         {reason: "punycode is the form of names", edit: put(pointer, "città.example"), want: rule},
		"an address":         {reason: "1.2.3.4 is nobody's domain", edit: put(pointer, "1.2.3.4"), want: rule},
		"with an underscore": {reason: "no host has one", edit: put(pointer, "a_b.example"), want: rule},
		"with a port":        {reason: "a port is no part of a name", edit: put(pointer, "a.example:443"), want: rule},
		"of two dots":        {reason: "a label is not empty", edit: put(pointer, "a..example"), want: rule},
		"of a hyphen before": {reason: "a label begins with a letter or digit", edit: put(pointer, "-a.example"), want: rule},
		"of a hyphen after":  {reason: "a label ends in a letter or digit", edit: put(pointer, "a-.example"), want: rule},
		"of comma and more":  {reason: "policies read lists of hosts", edit: put(pointer, "a.example,b.example"), want: rule},
	} {
		rows[path+" "+name] = r
	}
}

// amounts are the rows of a quantity of storage at pointer, beside bounds on its size.
func amounts(rows map[string]row, pointer, path, field string) {
	rule := field + `: Invalid value: "%s": an amount has no sign and no exponent, at most 12 digits, 3 decimals and a unit up to Pi, for example "500m", "4Gi" or "20"`
	for text, why := range map[string]string{
		"1.5Gi": "decimals", "1Pi": "the upper bound", "1024Ti": "the upper bound in another unit", "999999999999": "12 digits",
		"1.125Gi": "3 decimals",
	} {
		rows[path+" "+text] = row{reason: why, edit: put(pointer, text)}
	}
	for text, why := range map[string]string{
		"-1": "a sign", "+1Gi": "a sign", "1e12": "an exponent", "1E12": "an exponent", "1e1000": "Value() of it is 0", "9Ei": "9Ei+9Ei is -2",
		"9223372036854775808": "2^63 is negative in 64 bits", "1000000000000": "13 digits", "1.0625Gi": "4 decimals", "01Gi": "one amount has one form",
		"1 Gi": "a blank", "1gi": "no unit", ".5Gi": "a digit goes before the point", "1.Gi": "a digit goes after the point", "NaN": "no amount",
		"1n": "smaller than any use", "1Gi ": "a blank", "1GiB": "no unit of Kubernetes",
	} {
		rows[path+" "+text] = row{reason: why, edit: put(pointer, text), want: fmt.Sprintf(rule, text)}
	}
	rows[path+" empty"] = row{reason: "no amount is not an amount", edit: put(pointer, ""), want: path + " in body should be at least 1 chars long"}
	rows[path+" of 21"] = row{reason: "every text is bounded", edit: put(pointer, "100000000000.000000Gi"), want: path + ": Too long"}
	rows[path+" of 20"] = row{reason: "the upper bound", edit: put(pointer, "100000000000.00000Gi"), want: "an amount has no sign"}
	rows[path+" as a number"] = row{reason: "quotes keep 20 a text in every tool", edit: edits(pointer + " 20"), want: path + ` in body must be of type string: "integer"`}
	rows[path+" as a fraction"] = row{reason: "quotes keep 0.5 a text in every tool", edit: edits(pointer + " 0.5"), want: path + ` in body must be of type string: "number"`}
}

// quotaRows are the rows of a quota at pointer.
func quotaRows(rows map[string]row, pointer, path string) {
	at := func(key string, value any) edits { return put(pointer+"/"+key, value) }
	const all = `{requests.cpu: "1", requests.memory: 1Gi, requests.storage: 1Gi, requests.ephemeral-storage: 1Gi, limits.cpu: "1", limits.memory: 1Gi, limits.ephemeral-storage: 1Gi, pods: "1", services.loadbalancers: "1", services.nodeports: "1"`
	unit := "memory and storage are 0 or at least 1Mi: mind the unit, for example requests.memory: 4Gi"
	whole := `pods, services.loadbalancers and services.nodeports are whole numbers, for example pods: "20"`
	most := "requests are at most limits, for example {requests.cpu: \"2\", limits.cpu: \"4\"}"
	known := "a quota knows requests.cpu, requests.memory, requests.storage"
	for name, r := range map[string]row{
		"of all ten":        {reason: "the upper bound", edit: edits(pointer + " " + all + "}")},
		"of eleven":         {reason: "every map is bounded", edit: edits(pointer + " " + all + `, count/jobs.batch: "1"}`), want: path + ": Too many: 11: must have at most 10 items"},
		"unknown key":       {reason: "what we do not share out is not a tenant's", edit: edits(pointer + ` {cpu: "1"}`), want: known},
		"object counts":     {reason: "limits are for those", edit: edits(pointer + ` {count/secrets: "1"}`), want: known},
		"class key":         {reason: "storageClasses are for those", edit: edits(pointer + ` {standard.storageclass.storage.k8s.io/requests.storage: 1Gi}`), want: known},
		"a list":            {reason: "a map", edit: edits(pointer + " []"), want: path + ` in body must be of type object: "array"`},
		"storage of 1025Ti": {reason: "more than any cluster has", edit: at("requests.storage", "1025Ti"), want: "each amount is at most 1Pi, for example 4Gi"},
		"storage of 2Pi":    {reason: "more than any cluster has", edit: at("requests.storage", "2Pi"), want: path + ": Invalid value: each amount is at most 1Pi"},
		"storage of 0":      {reason: "none is an amount", edit: at("requests.storage", "0")},
		"storage of 1Mi":    {reason: "the lower bound", edit: at("requests.storage", "1Mi")},
		"storage of 1023Ki": {reason: "nothing fits in it", edit: at("requests.storage", "1023Ki"), want: unit},
		"memory of 400m":    {reason: "0.4 bytes, a common slip", edit: at("requests.memory", "400m"), want: unit},
		"memory of 4":       {reason: "4 bytes, a common slip", edit: at("requests.memory", "4"), want: unit},
		"limit of 4":        {reason: "4 bytes, a common slip", edit: edits(pointer + ` {limits.memory: "4"}`), want: unit},
		"scratch of 4":      {reason: "4 bytes, a common slip", edit: edits(pointer + ` {requests.ephemeral-storage: "4"}`), want: unit},
		"scratch limit 4":   {reason: "4 bytes, a common slip", edit: edits(pointer + ` {limits.ephemeral-storage: "4"}`), want: unit},
		"cpu of 500m":       {reason: "half a processor", edit: at("requests.cpu", "500m")},
		"pods of 0":         {reason: "none is a number", edit: at("pods", "0")},
		"pods of 1.5":       {reason: "no half pods", edit: at("pods", "1.5"), want: whole},
		"pods of 1500m":     {reason: "no half pods", edit: at("pods", "1500m"), want: whole},
		"balancers of 1.5":  {reason: "no half load balancers", edit: at("services.loadbalancers", "1.5"), want: whole},
		"ports of 1.5":      {reason: "no half node ports", edit: at("services.nodeports", "1.5"), want: whole},
		"cpu equal":         {reason: "requests may be all of limits", edit: at("requests.cpu", "2") + at("limits.cpu", "2000m")},
		"cpu over limit":    {reason: "no pod could use it", edit: at("requests.cpu", "2001m") + at("limits.cpu", "2"), want: most},
		"memory over":       {reason: "no pod could use it", edit: at("requests.memory", "2Gi") + at("limits.memory", "2047Mi"), want: most},
		"scratch over":      {reason: "no pod could use it", edit: at("requests.ephemeral-storage", "2Gi") + at("limits.ephemeral-storage", "1Gi"), want: most},
		"scratch equal":     {reason: "requests may be all of limits", edit: at("requests.ephemeral-storage", "2Gi") + at("limits.ephemeral-storage", "2Gi")},
	} {
		rows["quota "+name] = r
	}
	amounts(rows, pointer+"/requests.storage", path+".requests.storage", path+"[requests.storage]")
}

// statusRows are the rows of what every status has.
func statusRows(rows map[string]row, displayName string) {
	condition := func(i int) map[string]any {
		return map[string]any{"type": fmt.Sprint("C", i), "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
	}
	clock := "lastTransitionTime is a time as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	for name, r := range map[string]row{
		"at first":                    {reason: "an object that nobody has seen never looks ready, whatever its author says", gets: `/status {"observedGeneration": -1}`},
		"of a user's hand":            {reason: "only the subresource takes a status", via: update, edit: "/status/observedGeneration 7", gets: "/status/observedGeneration 1"},
		"spec of the operator's hand": {reason: "the subresource takes a status only", via: status, edit: "/spec/displayName Altro", gets: edits("/spec/displayName " + displayName)},
		"as it stands":                {reason: "it says everything that can be said", via: status},
		"16 conditions":               {reason: "the upper bound", via: status, edit: put("/status/conditions", many(16, condition))},
		"17 conditions":               {reason: "every list is bounded", via: status, edit: put("/status/conditions", many(17, condition)), want: "status.conditions: Too many: 17"},
		"one type twice":              {reason: "a question has one answer", via: status, edit: put("/status/conditions", []any{condition(1), condition(1)}), want: "status.conditions[1]: Duplicate value"},
		"time in lower case":          {reason: "Go cannot read it, and one such object stops the List of its kind", via: status, edit: `/status/conditions/0/lastTransitionTime "2026-01-01t00:00:00z"`, want: clock},
		"time and rubbish":            {reason: "Go cannot read it, and one such object stops the List of its kind", via: status, edit: `/status/conditions/0/lastTransitionTime "2026-01-01T00:00:00x5Z"`, want: clock},
		"time with an offset":         {reason: "a time", via: status, edit: `/status/conditions/0/lastTransitionTime "2026-01-01T00:00:00.5+01:00"`},
		"unknown field":               {reason: "the operator's own slips show", via: status, edit: "/status/phase Done", want: `unknown field "status.phase"`},
	} {
		rows["status: "+name] = r
	}
}
