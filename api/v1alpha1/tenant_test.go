package v1alpha1_test

import (
	"fmt"
	"strings"
)

func tenantRows() map[string]row {
	rows := map[string]row{
		"the valid one": {reason: "it says everything that can be said"},
		"the shortest one": {reason: "what is optional may be left out", edit: "/spec/kind Association\n/spec/sponsor\n/spec/population\n/spec/activeUsers\n/spec/viewers\n/spec/domains\n/spec/dataClasses\n/spec/limits\n/spec/nodePools\n/spec/registries\n/spec/priorityClasses\n/spec/runtimeClasses\n/spec/backupRecipients",
			gets: `/spec/dataClasses ["Ordinary"]
				/spec/limits {"workspaces": 20, "stacks": 20, "backups": 500, "objectsPerWorkspace": 200}
				/spec/nodePools`},
		"unknown field":             {reason: "a typing error must not pass", edit: "/spec/domain [lugano.example]", want: `unknown field "spec.domain"`},
		"no spec":                   {reason: "nothing is not a tenant", edit: "/spec", want: "spec: Required value"},
		"kind Municipality":         {reason: "a comune", edit: "/spec/kind Municipality\n/spec/sponsor"},
		"kind Province":             {reason: "a body", edit: "/spec/kind Province\n/spec/sponsor"},
		"kind MountainCommunity":    {reason: "a body", edit: "/spec/kind MountainCommunity\n/spec/sponsor\n/spec/population"},
		"population of mountains":   {reason: "its inhabitants would count twice", edit: "/spec/kind MountainCommunity\n/spec/sponsor", want: "a MountainCommunity has no population of its own, since its inhabitants are those of its members: remove population"},
		"kind Canton":               {reason: "no body we know", edit: "/spec/kind Canton\n/spec/sponsor", want: `spec.kind: Unsupported value: "Canton"`},
		"no kind":                   {reason: "it decides what else is asked", edit: "/spec/kind", want: "spec.kind: Required value"},
		"kind changes":              {reason: "another kind of body is another tenant", via: update, edit: "/spec/kind Municipality\n/spec/sponsor", want: "kind cannot change: another kind of body is another tenant"},
		"consortium changes":        {reason: "its namespace, quota and costs are another's", via: update, edit: "/spec/consortium ticino", want: "consortium cannot change: a tenant that moves is made anew in the other consortium"},
		"no consortium":             {reason: "somebody hosts it", edit: "/spec/consortium", want: "spec.consortium: Required value"},
		"consortium empty":          {reason: "somebody hosts it", edit: `/spec/consortium ""`, want: "spec.consortium in body should be at least 1 chars long"},
		"consortium of one letter":  {reason: "the lower bound", edit: "/spec/consortium v"},
		"consortium of 30":          {reason: "the upper bound", edit: put("/spec/consortium", long(30))},
		"consortium of 31":          {reason: "no consortium has such a name", edit: put("/spec/consortium", long(31)), want: "spec.consortium: Too long"},
		"consortium Varese":         {reason: "a label is in lower case", edit: "/spec/consortium Varese", want: "consortium is a DNS label of at most 30 characters, for example ticino"},
		"no quota":                  {reason: "what is not named is not granted", edit: "/spec/quota", want: "spec.quota: Required value"},
		"no storage classes":        {reason: "the first is the default", edit: "/spec/storageClasses", want: "spec.storageClasses: Required value"},
		"activeUsers 0":             {reason: "the lower bound", edit: "/spec/activeUsers 0"},
		"activeUsers -1":            {reason: "a number of people", edit: "/spec/activeUsers -1", want: "spec.activeUsers in body should be greater than or equal to 0"},
		"activeUsers 1000000":       {reason: "the upper bound", edit: "/spec/activeUsers 1000000"},
		"activeUsers 1000001":       {reason: "every number is bounded", edit: "/spec/activeUsers 1000001", want: "spec.activeUsers in body should be less than or equal to 1000000"},
		"activeUsers 1e21":          {reason: "Go cannot read it", edit: "/spec/activeUsers 1e21", want: "spec.activeUsers in body must be of type int32"},
		"population of a comune":    {reason: "costs are shared by it", edit: "/spec/kind Municipality\n/spec/sponsor\n/spec/population", want: "a Municipality states its population, for example population: {value: 63494"},
		"no population value":       {reason: "a population is a number", edit: "/spec/population/value", want: "spec.population.value: Required value"},
		"population 0":              {reason: "a comune has inhabitants", edit: "/spec/population/value 0", want: "spec.population.value in body should be greater than or equal to 1"},
		"population 1":              {reason: "the lower bound", edit: "/spec/population/value 1"},
		"population 100000000":      {reason: "the upper bound", edit: "/spec/population/value 100000000"},
		"population 100000001":      {reason: "every number is bounded", edit: "/spec/population/value 100000001", want: "spec.population.value in body should be less than or equal to 1"},
		"population half":           {reason: "inhabitants are whole", edit: "/spec/population/value 1.5", want: "spec.population.value in body must be of type int64"},
		"definition Inhabitants":    {reason: "who is counted", edit: "/spec/population/definition Inhabitants"},
		"definition residents":      {reason: "who is counted", edit: "/spec/population/definition PermanentResidents"},
		"definition Everybody":      {reason: "no definition we know", edit: "/spec/population/definition Everybody", want: `spec.population.definition: Unsupported value: "Everybody"`},
		"no definition":             {reason: "counts by different definitions differ", edit: "/spec/population/definition", want: "spec.population.definition: Required value"},
		"dataClasses of three":      {reason: "the upper bound", edit: "/spec/dataClasses [Ordinary, Critical, Strategic]"},
		"dataClasses of four":       {reason: "there are three", edit: "/spec/dataClasses [Ordinary, Critical, Strategic, Ordinary]", want: "spec.dataClasses: Too many: 4"},
		"dataClasses of none":       {reason: "nothing could be hosted", edit: "/spec/dataClasses []", want: "spec.dataClasses in body should have at least 1 items"},
		"dataClasses of one":        {reason: "the lower bound", edit: "/spec/dataClasses [Strategic]"},
		"dataClasses twice":         {reason: "a set", edit: "/spec/dataClasses [Ordinary, Ordinary]", want: "spec.dataClasses[1]: Duplicate value"},
		"dataClasses Secret":        {reason: "no class of the law", edit: "/spec/dataClasses [Secret]", want: `spec.dataClasses[0]: Unsupported value: "Secret"`},
		"dataClasses null":          {reason: "null is left to the default", edit: "/spec/dataClasses null", gets: `/spec/dataClasses ["Ordinary"]`},
		"domains of 32":             {reason: "the upper bound", edit: put("/spec/domains", many(32, host))},
		"domains of 33":             {reason: "every list is bounded", edit: put("/spec/domains", many(33, host)), want: "spec.domains: Too many: 33"},
		"domains twice":             {reason: "a set", edit: "/spec/domains [a.example, a.example]", want: "spec.domains[1]: Duplicate value"},
		"nodePools of 8":            {reason: "the upper bound", edit: put("/spec/nodePools", many(8, func(i int) string { return fmt.Sprint("p", i) }))},
		"nodePools of 9":            {reason: "every list is bounded", edit: put("/spec/nodePools", many(9, func(i int) string { return fmt.Sprint("p", i) })), want: "spec.nodePools: Too many: 9"},
		"nodePools twice":           {reason: "a set", edit: "/spec/nodePools [a, a]", want: "spec.nodePools[1]: Duplicate value"},
		"quota below what it needs": {reason: "a pod could not run", edit: "/spec/quota/pods", want: "a tenant's quota names requests.cpu, requests.memory, limits.cpu, limits.memory, requests.storage and pods, for example"},
	}
	tenantNameRows(rows)
	sponsorRows(rows)
	codeRows(rows)
	membershipRows(rows)
	subjectRows(rows)
	storageClassRows(rows)
	limitRows(rows)
	registryRows(rows)
	lines(rows, "displayName", "/spec/displayName", 120, "Città di Lugano")
	lines(rows, "source", "/spec/population/source", 200, "ISTAT census 2011")
	dates(rows, "/spec/population/referenceDate", "spec.population.referenceDate", true)
	hostnames(rows, "/spec/domains/0", "spec.domains[0]", "a domain is a DNS name of at least two labels in lower case, without a wildcard or a trailing dot, for example lugano.example")
	for _, list := range []string{"priorityClasses", "runtimeClasses"} {
		classes := func(n int) []string { return many(n, func(i int) string { return fmt.Sprint("c", i) }) }
		rows[list+" of 8"] = row{reason: "the upper bound", edit: put("/spec/"+list, classes(8))}
		rows[list+" of 9"] = row{reason: "every list is bounded", edit: put("/spec/"+list, classes(9)), want: "spec." + list + ": Too many: 9"}
		rows[list+" twice"] = row{reason: "a set", edit: edits("/spec/" + list + " [a, a]"), want: "spec." + list + "[1]: Duplicate value"}
	}
	rows["priority of the system"] = row{reason: "it pushes everybody off their nodes", edit: "/spec/priorityClasses [system-node-critical]", want: "a priority class is a DNS label of at most 63 characters that does not begin with system-"}
	labelsAt(rows, "/spec/priorityClasses/0", "spec.priorityClasses[0]", "a priority class is a DNS label of at most 63 characters that does not begin with system-, for example tenant-high")
	labelsAt(rows, "/spec/runtimeClasses/0", "spec.runtimeClasses[0]", "a runtime class is a DNS label of at most 63 characters, for example gvisor")
	labelsAt(rows, "/spec/nodePools/0", "spec.nodePools[0]", "a node pool is a DNS label of at most 63 characters, for example shared")
	recipients := func(n int) []string {
		return many(n, func(i int) string { return "age1" + strings.Repeat("q", 57) + string("qpzry9x8gf"[i]) })
	}
	rows["recipients of 8"] = row{reason: "the upper bound", edit: put("/spec/backupRecipients", recipients(8))}
	rows["recipients of 9"] = row{reason: "every list is bounded", edit: put("/spec/backupRecipients", recipients(9)), want: "spec.backupRecipients: Too many: 9"}
	rows["a recipient twice"] = row{reason: "a set", edit: put("/spec/backupRecipients", append(recipients(1), recipients(1)...)), want: "spec.backupRecipients[1]: Duplicate value"}
	rows["a recipient of odd letters"] = row{reason: "bech32 knows no b", edit: put("/spec/backupRecipients/0", "age1"+strings.Repeat("b", 58)), want: "a recipient is a public key as age-keygen prints it"}
	rows["a short recipient"] = row{reason: "no public key", edit: put("/spec/backupRecipients/0", "age1"+strings.Repeat("q", 57)), want: "spec.backupRecipients[0] in body should be at least 62 chars long"}
	rows["a long recipient"] = row{reason: "no public key", edit: put("/spec/backupRecipients/0", "age1"+strings.Repeat("q", 59)), want: "spec.backupRecipients[0]: Too long"}
	quotaRows(rows, "/spec/quota", "spec.quota")
	for _, key := range []string{"requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "requests.storage"} {
		rows["quota without "+key] = row{reason: "what is not named is not granted", edit: edits("/spec/quota/" + key), want: "a tenant's quota names requests.cpu"}
	}
	statusRows(rows, "Museo civico")
	ledgerRows(rows)
	return rows
}

func host(i int) string { return fmt.Sprintf("h%d.example", i) }

func tenantNameRows(rows map[string]row) {
	label := "metadata.name is a DNS label of at most 30 characters without --, for example lugano: it names the home namespace"
	reserved := "metadata.name names the home namespace: default, broletto-system and names that begin with kube- belong to the cluster"
	for name, want := range map[string]string{
		long(30): "", long(31): label, "l": "", "1": "", "a-b-c": "", "a--b": label, "ticino.ch": label, "Lugano": "metadata.name: Invalid value",
		"kube-x": reserved, "kube-system": reserved, "kube": "", "kuber": "", "default": reserved, "default-1": "", "broletto-system": reserved, "broletto": "",
		"-a": "metadata.name: Invalid value", "città": "metadata.name: Invalid value",
	} {
		rows["name "+name] = row{reason: "it names the home namespace and begins those of workspaces", edit: put("/metadata/name", name), want: want}
	}
	rows["name generated"] = row{reason: "what the server makes up is tested too", edit: "/metadata/name\n/metadata/generateName a--", want: label}
}

func sponsorRows(rows map[string]row) {
	tenantNames(rows, "/spec/sponsor/tenant", "spec.sponsor.tenant", true)
	for name, r := range map[string]row{
		"of an external body":     {reason: "somebody vouches for it", edit: "/spec/sponsor", want: "an ExternalBody, and nobody else, has a sponsor, for example sponsor: {tenant: lugano, costCarrier: Self}"},
		"of a comune":             {reason: "a member stands for itself", edit: "/spec/kind Municipality", want: "an ExternalBody, and nobody else, has a sponsor"},
		"of itself":               {reason: "nobody vouches for himself", edit: "/spec/sponsor/tenant museo", want: "spec.sponsor.tenant: Invalid value: sponsor.tenant is another tenant: the member that the body belongs to"},
		"null":                    {reason: "null is nothing", edit: "/spec/sponsor null", want: "an ExternalBody, and nobody else, has a sponsor"},
		"with costs of a sponsor": {reason: "who pays", edit: "/spec/sponsor/costCarrier Sponsor"},
		"with costs of nobody":    {reason: "a body pays for itself", edit: "/spec/sponsor/costCarrier", gets: "/spec/sponsor/costCarrier Self"},
		"with costs of all":       {reason: "one of the two pays", edit: "/spec/sponsor/costCarrier All", want: `spec.sponsor.costCarrier: Unsupported value: "All"`},
	} {
		rows["sponsor "+name] = r
	}
}

func codeRows(rows map[string]row) {
	code := func(name, value string) edits { return put("/spec/codes", map[string]string{name: value}) }
	rules := map[string]string{
		"istat":     `istat is six digits in quotes, zeros included, for example "012133"`,
		"bfs":       `bfs is one to four digits in quotes without a leading zero, for example "5192"`,
		"cadastral": "cadastral is a capital letter and three digits, for example L682",
		"ipa":       "ipa is 2 to 20 lower-case letters, digits and underscores, for example c_l682",
		"other":     "other is capital letters, digits and single hyphens between them, for example CH-TI-LAC",
	}
	for name, values := range map[string]struct{ good, bad []string }{
		"istat":     {good: []string{"058091", "012133", "000001"}, bad: []string{"58091", "05809a", "", "٠٥٨٠٩١"}},
		"bfs":       {good: []string{"1", "5192", "9999"}, bad: []string{"0", "0519", "", "51a"}},
		"cadastral": {good: []string{"L682", "A000"}, bad: []string{"l682", "L68", "6682", "LL68", ""}},
		"ipa":       {good: []string{"p_va", "c1", long(20)}, bad: []string{"c", "C_L682", "c-l682", ""}},
		"other":     {good: []string{"CH-TI-LAC", "A", "A-1"}, bad: []string{"ch-ti-lac", "A--B", "-A", "A-", "", "A B"}},
	} {
		for _, value := range values.good {
			rows["code "+name+" "+value] = row{reason: "a code as its register writes it", edit: code(name, value)}
		}
		for _, value := range values.bad {
			rows["code "+name+" "+value] = row{reason: "no register writes it so", edit: code(name, value), want: rules[name]}
		}
	}
	for name, value := range map[string]string{"istat": "0580911", "bfs": "51920", "cadastral": "L6822", "ipa": long(21), "other": "CH-TI-A-VERY-LONG-CODE-THAT-NOBODY-WRITES"} {
		rows["code "+name+" too long"] = row{reason: "every text is bounded", edit: code(name, value), want: "spec.codes." + name + ": Too long"}
	}
	const both = "a body has an istat code or a bfs code, never both"
	const unchanged = "a statistical code cannot change: a merged comune is a new tenant"
	const swiss = `/spec/codes {bfs: "5192"}`
	for name, r := range map[string]row{
		"other of 40":         {reason: "the upper bound", edit: put("/spec/codes", map[string]string{"other": "CH-TI-A-VERY-LONG-CODE-THAT-NOBODY-WRITE"})},
		"none":                {reason: "a name identifies nobody", edit: "/spec/codes {}", want: "spec.codes in body should have at least 1 properties"},
		"absent":              {reason: "a name identifies nobody", edit: "/spec/codes", want: "spec.codes: Required value"},
		"of both countries":   {reason: "a body lies in one", edit: `/spec/codes/bfs "5192"`, want: both},
		"of a comune":         {reason: "the statistical code is its identity", edit: "/spec/kind Municipality\n/spec/sponsor\n/spec/codes {ipa: c_l682}", want: `a Municipality is known by its statistical code: codes: {istat: "058091"} in Italy, codes: {bfs: "5192"} in Switzerland`},
		"of a Swiss comune":   {reason: "the statistical code is its identity", edit: "/spec/kind Municipality\n/spec/sponsor\n" + swiss},
		"istat as a number":   {reason: "058091 would lose its zero", edit: "/spec/codes {istat: 58091}", want: `spec.codes.istat in body must be of type string: "integer"`},
		"bfs as a number":     {reason: "codes are text", edit: "/spec/codes {bfs: 5192}", want: `spec.codes.bfs in body must be of type string: "integer"`},
		"istat changes":       {reason: "a merged comune is a new tenant", via: update, edit: `/spec/codes/istat "058092"`, want: unchanged},
		"istat goes":          {reason: "a merged comune is a new tenant", via: update, edit: "/spec/codes/istat", want: unchanged},
		"istat becomes bfs":   {reason: "a merged comune is a new tenant", via: update, edit: swiss, want: unchanged},
		"bfs changes":         {reason: "a merged comune is a new tenant", via: update, from: swiss, edit: `/spec/codes/bfs "5193"`, want: unchanged},
		"bfs goes":            {reason: "a merged comune is a new tenant", via: update, from: swiss, edit: "/spec/codes {other: A}", want: unchanged},
		"istat with zero":     {reason: "058091 keeps its zero", edit: `/spec/codes {istat: "058091"}`, gets: `/spec/codes {"istat": "058091"}`},
		"istat comes":         {reason: "it may become known later", via: update, from: "/spec/codes {other: A}", edit: `/spec/codes/istat "058091"`},
		"bfs comes":           {reason: "it may become known later", via: update, from: "/spec/codes {other: A}", edit: `/spec/codes/bfs "5192"`},
		"the others change":   {reason: "they are no identity", via: update, edit: "/spec/codes/cadastral A001\n/spec/codes/ipa c_a001\n/spec/codes/other"},
		"unknown code system": {reason: "a typing error must not pass", edit: `/spec/codes/ISTAT "058091"`, want: `unknown field "spec.codes.ISTAT"`},
	} {
		rows["code "+name] = r
	}
}

func membershipRows(rows map[string]row) {
	const act = `, act: a, convenienceStudy: s}`
	list := func(intervals string) edits { return edits("/spec/memberships [" + intervals + "]") }
	apart := "spec.memberships: Invalid value: membership intervals do not overlap: each but the last has an exit before the next entry"
	year := func(i int) map[string]string {
		return map[string]string{"entry": fmt.Sprint(2000+i, "-01-01"), "exit": fmt.Sprint(2000+i, "-12-31"), "act": "a", "convenienceStudy": "s"}
	}
	for name, r := range map[string]row{
		"none":                  {reason: "who is no member is hosted no further", edit: "/spec/memberships []", want: "spec.memberships in body should have at least 1 items"},
		"absent":                {reason: "who is no member is hosted no further", edit: "/spec/memberships", want: "spec.memberships: Required value"},
		"one without end":       {reason: "no end is known", edit: list(`{entry: "2024-04-04"` + act)},
		"one day":               {reason: "exit is the last day", edit: list(`{entry: "2024-04-04", exit: "2024-04-04"` + act)},
		"end before begin":      {reason: "an interval", edit: list(`{entry: "2024-04-04", exit: "2024-04-03"` + act), want: "spec.memberships[0]: Invalid value: exit is not before entry: entry: 2018-06-20, exit: 2023-12-31"},
		"end years before":      {reason: "dates are compared, not texts", edit: list(`{entry: "2024-01-01", exit: "2023-12-31"` + act), want: "exit is not before entry"},
		"16":                    {reason: "the upper bound", edit: put("/spec/memberships", many(16, year))},
		"17":                    {reason: "every list is bounded", edit: put("/spec/memberships", many(17, year)), want: "spec.memberships: Too many: 17"},
		"on successive days":    {reason: "they do not overlap", edit: list(`{entry: "2020-01-01", exit: "2020-12-31"` + act + `, {entry: "2021-01-01"` + act)},
		"on the same day":       {reason: "a day belongs to one", edit: list(`{entry: "2020-01-01", exit: "2021-01-01"` + act + `, {entry: "2021-01-01"` + act), want: apart},
		"overlapping":           {reason: "a day belongs to one", edit: list(`{entry: "2020-01-01", exit: "2022-01-01"` + act + `, {entry: "2021-01-01"` + act), want: apart},
		"within another":        {reason: "a day belongs to one", edit: list(`{entry: "2020-01-01", exit: "2029-01-01"` + act + `, {entry: "2021-01-01", exit: "2021-02-01"` + act), want: apart},
		"after one without end": {reason: "a day belongs to one", edit: list(`{entry: "2020-01-01"` + act + `, {entry: "2021-01-01"` + act), want: apart},
		"unsorted":              {reason: "order says nothing", edit: list(`{entry: "2021-01-01"` + act + `, {entry: "2020-01-01", exit: "2020-12-31"` + act)},
		"unsorted overlapping":  {reason: "order says nothing", edit: list(`{entry: "2021-01-01"` + act + `, {entry: "2020-01-01"` + act), want: apart},
		"of one entry":          {reason: "the entry is the key", edit: list(`{entry: "2020-01-01", exit: "2020-12-31"` + act + `, {entry: "2020-01-01"` + act), want: "spec.memberships[1]: Duplicate value"},
		"first and third":       {reason: "all pairs are compared", edit: list(`{entry: "2020-01-01", exit: "2023-12-31"` + act + `, {entry: "2024-01-01", exit: "2024-12-31"` + act + `, {entry: "2022-01-01", exit: "2022-12-31"` + act), want: apart},
		"that end":              {reason: "members leave", via: update, from: list(`{entry: "2024-04-04"` + act), edit: `/spec/memberships/0/exit "2026-12-31"`},
	} {
		rows["memberships "+name] = r
	}
	lines(rows, "act", "/spec/memberships/0/act", 200, "accordo quadro 4.4.2024")
	lines(rows, "convenienceStudy", "/spec/memberships/0/convenienceStudy", 200, "studio preliminare 2023")
	dates(rows, "/spec/memberships/0/entry", "spec.memberships[0].entry", true)
	dates(rows, "/spec/memberships/1/exit", "spec.memberships[1].exit", false)
}

func subjectRows(rows map[string]row) {
	group := func(i int) map[string]string { return map[string]string{"kind": "Group", "name": fmt.Sprint("g", i)} }
	for _, field := range []string{"administrators", "viewers"} {
		at, path := "/spec/"+field, "spec."+field
		subjects(rows, at+"/0", path+"[0]")
		rows[field+" of 32"] = row{reason: "the upper bound", edit: put(at, many(32, group))}
		rows[field+" of 33"] = row{reason: "every list is bounded", edit: put(at, many(33, group)), want: path + ": Too many: 33"}
		rows[field+" twice"] = row{reason: "one is enough", edit: put(at, []any{group(1), group(1)}), want: path + "[1]: Duplicate value"}
		rows[field+" of one name"] = row{reason: "a group and a user may have one", edit: edits(at + " [{kind: Group, name: a}, {kind: User, name: a}]")}
	}
	rows["administrators of none"] = row{reason: "somebody asks for the comune", edit: "/spec/administrators []", want: "spec.administrators in body should have at least 1 items"}
	rows["administrators of one"] = row{reason: "the lower bound", edit: "/spec/administrators [{kind: Group, name: a}]"}
	rows["administrators absent"] = row{reason: "somebody asks for the comune", edit: "/spec/administrators", want: "spec.administrators: Required value"}
	rows["viewers of none"] = row{reason: "nobody has to look", edit: "/spec/viewers []"}
}

// subjects are the rows of a subject at pointer.
func subjects(rows map[string]row, pointer, path string) {
	system := "names that begin with system: belong to Kubernetes; name a group, user or account of your own, for example lugano:ict"
	account := "a ServiceAccount is named by a DNS label other than default, for example flux"
	plain := "name has no blanks, control or combining characters, for example lugano:ict"
	subject := func(kind, name string) edits { return put(pointer+"/kind", kind) + put(pointer+"/name", name) }
	for name, r := range map[string]row{
		"user":             {reason: "as the identity provider names them", edit: subject("User", "anna.bianchi@lugano.example")},
		"user in Unicode":  {reason: "identity providers allow it", edit: subject("User", "nicolò")},
		"robot":            {reason: "no kind of subject", edit: subject("Robot", "r2"), want: path + `.kind: Unsupported value: "Robot"`},
		"no kind":          {reason: "a group is no user", edit: edits(pointer + "/kind"), want: path + ".kind: Required value"},
		"no name":          {reason: "somebody", edit: edits(pointer + "/name"), want: path + ".name: Required value"},
		"empty name":       {reason: "somebody", edit: subject("Group", ""), want: path + ".name in body should be at least 1 chars long"},
		"one letter":       {reason: "the lower bound", edit: subject("Group", "g")},
		"of 200":           {reason: "the upper bound", edit: subject("Group", long(200))},
		"of 201":           {reason: "every text is bounded", edit: subject("Group", long(201)), want: path + ".name: Too long"},
		"masters":          {reason: "they may do everything", edit: subject("Group", "system:masters"), want: system},
		"authenticated":    {reason: "everybody is", edit: subject("Group", "system:authenticated"), want: system},
		"anonymous":        {reason: "anybody is", edit: subject("User", "system:anonymous"), want: system},
		"foreign account":  {reason: "an account of another namespace", edit: subject("User", "system:serviceaccount:a:b"), want: system},
		"account":          {reason: "a tool acts as it", edit: subject("ServiceAccount", "argocd")},
		"account of 63":    {reason: "the upper bound", edit: subject("ServiceAccount", long(63))},
		"account of 64":    {reason: "a label has 63 characters", edit: subject("ServiceAccount", long(64)), want: account},
		"account default":  {reason: "every pod is that", edit: subject("ServiceAccount", "default"), want: account},
		"account a:b":      {reason: "accounts of other namespaces are not named", edit: subject("ServiceAccount", "a:b"), want: account},
		"account Flux":     {reason: "a label is in lower case", edit: subject("ServiceAccount", "Flux"), want: account},
		"account a.b":      {reason: "a label has no dots", edit: subject("ServiceAccount", "a.b"), want: account},
		"group default":    {reason: "a group is no account", edit: subject("Group", "default")},
		"of a blank":       {reason: "two names must not differ in blanks", edit: subject("Group", " system:masters"), want: plain},
		"of a no-break":    {reason: "two names must not differ in blanks", edit: subject("Group", "a\u00A0b"), want: plain},
		"turned around":    {reason: "U+202E makes one name look like another", edit: subject("User", "a\u202Eb"), want: plain},
		"of a control":     {reason: "it is printed on terminals", edit: subject("User", "a\u0000b"), want: plain},
		"decomposed":       {reason: "two names must not look alike", edit: subject("User", "nicolo\u0300"), want: plain},
		"with a namespace": {reason: "no field names another namespace", edit: edits(pointer + "/namespace kube-system"), want: `unknown field "` + path + `.namespace"`},
	} {
		rows[path+" "+name] = r
	}
}

func storageClassRows(rows map[string]row) {
	class := func(i int) map[string]string { return map[string]string{"name": fmt.Sprint("c", i)} }
	const bounds = "quota is 0, or between 1Mi and 1Pi, for example 3Ti"
	for name, r := range map[string]row{
		"of none":          {reason: "the first is the default", edit: "/spec/storageClasses []", want: "spec.storageClasses in body should have at least 1 items"},
		"of one":           {reason: "the lower bound", edit: "/spec/storageClasses [{name: standard}]"},
		"of 8":             {reason: "the upper bound", edit: put("/spec/storageClasses", many(8, class))},
		"of 9":             {reason: "every list is bounded", edit: put("/spec/storageClasses", many(9, class)), want: "spec.storageClasses: Too many: 9"},
		"twice":            {reason: "one quota each", edit: put("/spec/storageClasses", []any{class(1), class(1)}), want: "spec.storageClasses[1]: Duplicate value"},
		"without name":     {reason: "a class is its name", edit: "/spec/storageClasses/0/name", want: "spec.storageClasses[0].name: Required value"},
		"quota 0":          {reason: "none is an amount", edit: `/spec/storageClasses/0/quota "0"`},
		"quota 1Mi":        {reason: "the lower bound", edit: "/spec/storageClasses/0/quota 1Mi"},
		"quota 1023Ki":     {reason: "nothing fits in it", edit: "/spec/storageClasses/0/quota 1023Ki", want: bounds},
		"quota 100":        {reason: "100 bytes, a common slip", edit: `/spec/storageClasses/0/quota "100"`, want: bounds},
		"quota 1025Ti":     {reason: "more than any cluster has", edit: "/spec/storageClasses/0/quota 1025Ti", want: bounds},
		"in another order": {reason: "the default changes", via: update, edit: "/spec/storageClasses [{name: encrypted}, {name: standard, quota: 150Gi}]"},
	} {
		rows["storageClasses "+name] = r
	}
	amounts(rows, "/spec/storageClasses/0/quota", "spec.storageClasses[0].quota", "spec.storageClasses[0].quota")
	labelsAt(rows, "/spec/storageClasses/0/name", "spec.storageClasses[0].name", "name is a DNS label of at most 63 characters, for example standard")
}

func limitRows(rows map[string]row) {
	for field, bounds := range map[string][2]int{"workspaces": {0, 500}, "stacks": {0, 500}, "backups": {0, 10000}, "objectsPerWorkspace": {1, 10000}} {
		at, path := "/spec/limits/"+field, "spec.limits."+field
		rows["limits "+field+" least"] = row{reason: "the lower bound", edit: put(at, bounds[0])}
		rows["limits "+field+" less"] = row{reason: "a number of things", edit: put(at, bounds[0]-1), want: fmt.Sprint(path, " in body should be greater than or equal to ", bounds[0])}
		rows["limits "+field+" most"] = row{reason: "the upper bound", edit: put(at, bounds[1])}
		rows["limits "+field+" more"] = row{reason: "every number is bounded", edit: put(at, bounds[1]+1), want: fmt.Sprint(path, " in body should be less than or equal to ", bounds[1])}
		rows["limits "+field+" null"] = row{reason: "null is left to the default", edit: edits(at + " null")}
		rows["limits "+field+" as text"] = row{reason: "a number is no text", edit: edits(at + ` "20"`), want: path + ` in body must be of type integer: "string"`}
	}
	rows["limits null"] = row{reason: "null is left to the default", edit: "/spec/limits null", gets: "/spec/limits/workspaces 20"}
	rows["limits of pods"] = row{reason: "the quota limits those", edit: "/spec/limits/pods 5", want: `unknown field "spec.limits.pods"`}
}

func registryRows(rows map[string]row) {
	rule := "a registry is a host and perhaps a path, in lower case and ending in /, for example registry.ticino.example/ or registry.ticino.example:5000/lugano/"
	at := func(value string) edits { return put("/spec/registries/0", value) }
	name := func(i int) string { return fmt.Sprintf("r%d.example/", i) }
	for _, good := range []string{"ab/", "docker.io/library/", "registry.ticino.example:5000/lugano/a_b/", "10.0.0.1:5000/", long(199) + "/"} {
		rows["registry "+good] = row{reason: "a prefix of images", edit: at(good)}
	}
	for _, bad := range []string{"registry.ticino.example", "https://registry.ticino.example/", "Registry.example/", "a.example//", "a.example/../", "/aa/", "a.example:/", "*.example/", "a b/"} {
		rows["registry "+bad] = row{reason: "it would match other registries, or none", edit: at(bad), want: rule}
	}
	rows["registry of 2"] = row{reason: "nothing is so short", edit: at("a/"), want: "spec.registries[0] in body should be at least 3 chars long"}
	rows["registry of 201"] = row{reason: "every text is bounded", edit: at(long(200) + "/"), want: "spec.registries[0]: Too long"}
	rows["registries of 16"] = row{reason: "the upper bound", edit: put("/spec/registries", many(16, name))}
	rows["registries of 17"] = row{reason: "every list is bounded", edit: put("/spec/registries", many(17, name)), want: "spec.registries: Too many: 17"}
	rows["registries twice"] = row{reason: "a set", edit: "/spec/registries [a.example/, a.example/]", want: "spec.registries[1]: Duplicate value"}
}

// ledgerRows are the rows of what workspaces hold of the quota.
func ledgerRows(rows map[string]row) {
	const class = "standard.storageclass.storage.k8s.io~1requests.storage"
	less := "spec.quota: Invalid value: spec.quota cannot be less than status.allocated, what the tenant's workspaces hold together: lower spec.quota of some Workspaces first"
	unnamed := `spec.quota: Invalid value: spec.quota names every resource of status.allocated, what the tenant's workspaces hold together: lower spec.quota of some Workspaces to "0" first`
	lessOfClass := "spec.storageClasses: Invalid value: quota of a storage class cannot be less than what status.allocated holds of it: lower requests.storage, or the volumes of that class, in some Workspaces first"
	workspace := func(i int) map[string]any {
		return map[string]any{"workspace": fmt.Sprint("w", i), "uid": fmt.Sprint(i), "revision": 1}
	}
	amount := func(n int) map[string]string {
		out := map[string]string{}
		for i := range n {
			out[fmt.Sprintf("c%d.storageclass.storage.k8s.io/requests.storage", i)] = "1Gi"
		}
		return out
	}
	for name, r := range map[string]row{
		"quota of just what is held":    {reason: "nothing is taken away", via: update, edit: `/spec/quota/requests.cpu "2"`},
		"quota below what is held":      {reason: "the sum of allocations is at most the quota at every revision", via: update, edit: `/spec/quota/requests.cpu "1999m"`, want: less},
		"quota without what is held":    {reason: "what is not named is not granted", via: update, from: `/status/allocated/services.loadbalancers "1"`, edit: "/spec/quota/services.loadbalancers", want: unnamed},
		"quota without what is free":    {reason: "nobody holds it", via: update, from: `/status/allocated/services.loadbalancers "0"`, edit: "/spec/quota/services.loadbalancers"},
		"class quota of what is held":   {reason: "nothing is taken away", via: update, edit: "/spec/storageClasses/0/quota 100Gi"},
		"class quota below":             {reason: "the sum of allocations is at most the quota at every revision", via: update, edit: "/spec/storageClasses/0/quota 102399Mi", want: lessOfClass},
		"class quota taken away":        {reason: "without one nothing bounds the class", via: update, edit: "/spec/storageClasses/0/quota"},
		"allocated all":                 {reason: "the upper bound", via: status, edit: `/status/allocated/requests.cpu "4"`},
		"allocated too much":            {reason: "the sum of allocations is at most the quota at every revision", via: status, edit: `/status/allocated/requests.cpu "4001m"`, want: less},
		"allocated in other units":      {reason: "amounts are compared, not texts", via: status, edit: `/status/allocated/requests.memory "17179869185"`, want: less},
		"allocated unnamed":             {reason: "what is not named is not granted", via: status, from: "/spec/quota/services.loadbalancers", edit: `/status/allocated/services.loadbalancers "1"`, want: unnamed},
		"allocated nothing unnamed":     {reason: "nothing is not too much", via: status, from: "/spec/quota/services.loadbalancers", edit: `/status/allocated/services.loadbalancers "0"`},
		"allocated all of a class":      {reason: "the upper bound", via: status, edit: "/status/allocated/" + class + " 150Gi"},
		"allocated too much of a class": {reason: "the sum of allocations is at most the quota at every revision", via: status, edit: "/status/allocated/" + class + " 151Gi", want: lessOfClass},
		"allocated of no known class":   {reason: "a class that the tenant had", via: status, edit: "/status/allocated/old.storageclass.storage.k8s.io~1requests.storage 1Ti"},
		"allocated no amount":           {reason: "Go cannot read it, and one such object stops the List of its kind", via: status, edit: "/status/allocated/old.storageclass.storage.k8s.io~1requests.storage 1e1.5", want: "each amount is a Kubernetes quantity, for example 4Gi"},
		"allocated of 24":               {reason: "the upper bound", via: status, edit: put("/status/allocated", amount(24))},
		"allocated of 25":               {reason: "every map is bounded", via: status, edit: put("/status/allocated", amount(25)), want: "status.allocated: Too many: 25"},
		"namespace of 30":               {reason: "the upper bound", via: status, edit: put("/status/namespace", long(30))},
		"namespace of 31":               {reason: "no tenant has such a name", via: status, edit: put("/status/namespace", long(31)), want: "status.namespace: Too long"},
		"claims of 40":                  {reason: "the upper bound", via: status, edit: put("/status/claims", many(40, host))},
		"claims of 41":                  {reason: "every list is bounded", via: status, edit: put("/status/claims", many(41, host)), want: "status.claims: Too many: 41"},
		"claims twice":                  {reason: "a set", via: status, edit: "/status/claims [a, a]", want: "status.claims[1]: Duplicate value"},
		"claim of 260":                  {reason: "a domain of 253, said to be one", via: status, edit: put("/status/claims/0", long(260))},
		"claim of 261":                  {reason: "every text is bounded", via: status, edit: put("/status/claims/0", long(261)), want: "status.claims[0]: Too long"},
		"allocations of 500":            {reason: "as many as workspaces", via: status, edit: put("/status/allocations", many(500, workspace))},
		"allocations of 501":            {reason: "every list is bounded", via: status, edit: put("/status/allocations", many(501, workspace)), want: "status.allocations: Too many: 501"},
		"allocations twice":             {reason: "a workspace has one", via: status, edit: put("/status/allocations", []any{workspace(1), workspace(1)}), want: "status.allocations[1]: Duplicate value"},
		"no workspace":                  {reason: "somebody holds it", via: status, edit: "/status/allocations/0/workspace", want: "status.allocations[0].workspace: Required value"},
		"no uid":                        {reason: "one made again under the same name holds nothing", via: status, edit: "/status/allocations/0/uid", want: "status.allocations[0].uid: Required value"},
		"uid empty":                     {reason: "one made again under the same name holds nothing", via: status, edit: put("/status/allocations/0/uid", ""), want: "allocations[0].uid in body should be at least 1 chars long"},
		"uid of 37":                     {reason: "every text is bounded", via: status, edit: put("/status/allocations/0/uid", long(37)), want: "status.allocations[0].uid: Too long"},
		"no revision":                   {reason: "decisions are counted", via: status, edit: "/status/allocations/0/revision", want: "status.allocations[0].revision: Required value"},
		"revision 0":                    {reason: "they are counted from 1", via: status, edit: "/status/allocations/0/revision 0", want: "allocations[0].revision in body should be greater than or equal to 1"},
		"revision 2^53-1":               {reason: "the upper bound", via: status, edit: "/status/allocations/0/revision 9007199254740991"},
		"revision 2^53":                 {reason: "JSON's integers end there", via: status, edit: "/status/allocations/0/revision 9007199254740992", want: "allocations[0].revision in body should be less than or equal to 9"},
		"held of 24":                    {reason: "the upper bound", via: status, edit: put("/status/allocations/0/quota", amount(24)) + put("/status/allocations/0/releasing", amount(24))},
		"held of 25":                    {reason: "every map is bounded", via: status, edit: put("/status/allocations/0/quota", amount(25)), want: "status.allocations[0].quota: Too many: 25"},
		"releasing of 25":               {reason: "every map is bounded", via: status, edit: put("/status/allocations/0/releasing", amount(25)), want: "status.allocations[0].releasing: Too many: 25"},
		"hosts of 32":                   {reason: "the upper bound", via: status, edit: put("/status/allocations/0/hosts", many(32, host))},
		"hosts of 33":                   {reason: "every list is bounded", via: status, edit: put("/status/allocations/0/hosts", many(33, host)), want: "status.allocations[0].hosts: Too many: 33"},
		"hosts twice":                   {reason: "a set", via: status, edit: "/status/allocations/0/hosts [a.example, a.example]", want: "status.allocations[0].hosts[1]: Duplicate value"},
		"host of 254":                   {reason: "every text is bounded", via: status, edit: put("/status/allocations/0/hosts/0", long(254)), want: "status.allocations[0].hosts[0]: Too long"},
		"host of 253":                   {reason: "the upper bound", via: status, edit: put("/status/allocations/0/hosts/0", long(253))},
		"host of 3":                     {reason: "nothing is so short", via: status, edit: put("/status/allocations/0/hosts/0", long(3)), want: "allocations[0].hosts[0] in body should be at least 4 chars long"},
		"host of 4":                     {reason: "the lower bound", via: status, edit: put("/status/allocations/0/hosts/0", long(4))},
	} {
		rows["ledger: "+name] = r
	}
	workspaceNames(rows, status, "/status/allocations/0/workspace", "allocations[0].workspace")
}

// workspaceNames are the rows of a reference to a workspace at pointer.
func workspaceNames(rows map[string]row, how via, pointer, path string) {
	rule := "a workspace's name is a DNS label of at most 31 characters without --, for example sportello"
	for name, r := range map[string]row{
		"of 31":         {reason: "the upper bound", edit: put(pointer, long(31))},
		"of 32":         {reason: "no workspace has such a name", edit: put(pointer, long(32)), want: path + ": Too long"},
		"of one letter": {reason: "the lower bound", edit: put(pointer, "w")},
		"empty":         {reason: "no name is not a name", edit: put(pointer, ""), want: path + " in body should be at least 1 chars long"},
		"Sportello":     {reason: "a label is in lower case", edit: put(pointer, "Sportello"), want: rule},
		"a--b":          {reason: "it parts tenant and workspace in namespaces", edit: put(pointer, "a--b"), want: rule},
		"a.b":           {reason: "a label has no dots", edit: put(pointer, "a.b"), want: rule},
	} {
		r.via = how
		rows[path+" "+name] = r
	}
}
