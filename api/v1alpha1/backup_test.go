package v1alpha1_test

import (
	"fmt"
	"maps"
	"strings"
)

func backupRepositoryRows() map[string]row {
	host := "endpoint is scheme, host and port alone, for example https://s3.ticino.example"
	bucket := "bucket is a name of S3: 3 to 63 lower-case letters, digits, dots and dashes, for example broletto-primario"
	prefix := "prefix has lower-case letters, digits, dashes and slashes within, for example broletto"
	stays := "a repository stays where its backups are: make another one"
	recipient := "a recipient is a public key as age-keygen prints it, age1 and 58 more characters"
	rows := map[string]row{
		"the valid one": {reason: "it says everything that can be said"},
		"the shortest one": {reason: "what works without more", edit: "/spec/objectLock\n/spec/verifyEveryDays\n/spec/maxConcurrent\n/spec/s3 {endpoint: 'https://s3.example', bucket: abc, credentialsSecret: backup}",
			gets: `/spec/s3 {"bucket": "abc", "credentialsSecret": "backup", "endpoint": "https://s3.example", "prefix": "", "region": "us-east-1"}
				/spec/verifyEveryDays 7
				/spec/maxConcurrent 4`},
		"unknown field":              {reason: "a typing error must not pass", edit: "/spec/s3/accessKey AKIA", want: `unknown field "spec.s3.accessKey"`},
		"a namespace":                {reason: "no field names a namespace", edit: "/spec/s3/namespace kube-system", want: `unknown field "spec.s3.namespace"`},
		"no spec":                    {reason: "nothing is no store", edit: "/spec", want: "spec: Required value"},
		"name of 40":                 {reason: "the upper bound", edit: put("/metadata/name", long(40))},
		"name of 41":                 {reason: "policies name it", edit: put("/metadata/name", long(41)), want: "metadata.name is a DNS label of at most 40 characters, for example primario"},
		"name with a dot":            {reason: "a subdomain is no label", edit: "/metadata/name a.b", want: "metadata.name is a DNS label"},
		"consortium changes":         {reason: "its tenants' backups are there", via: update, edit: "/spec/consortium varese", want: "a repository stays with its consortium: make another one"},
		"endpoint changes":           {reason: "backups are there", via: update, edit: "/spec/s3/endpoint https://s3.example", want: stays},
		"bucket changes":             {reason: "backups are there", via: update, edit: "/spec/s3/bucket altro", want: stays},
		"prefix changes":             {reason: "backups are there", via: update, edit: "/spec/s3/prefix altro", want: stays},
		"credentials change":         {reason: "keys are rotated", via: update, edit: "/spec/s3/credentialsSecret altro"},
		"escrow changes":             {reason: "keys are rotated", via: update, edit: put("/spec/escrow", "age1"+strings.Repeat("q", 58))},
		"lock goes":                  {reason: "what is locked stays so", via: update, edit: "/spec/objectLock"},
		"endpoint by http":           {reason: "on a network of one's own", edit: "/spec/s3/endpoint http://127.0.0.1:9000"},
		"endpoint of IPv6":           {reason: "an address", edit: "/spec/s3/endpoint 'https://[2001:db8::1]:9000'"},
		"endpoint of 8":              {reason: "the lower bound", edit: "/spec/s3/endpoint http://a"},
		"endpoint of 7":              {reason: "no host", edit: "/spec/s3/endpoint http://", want: "spec.s3.endpoint in body should be at least 8 chars long"},
		"endpoint of 255":            {reason: "the upper bound", edit: put("/spec/s3/endpoint", "https://"+long(247))},
		"endpoint of 256":            {reason: "every text is bounded", edit: put("/spec/s3/endpoint", "https://"+long(248)), want: "spec.s3.endpoint: Too long"},
		"endpoint with a path":       {reason: "the bucket has a field of its own", edit: "/spec/s3/endpoint https://s3.example/bucket", want: host},
		"endpoint with a password":   {reason: "secrets stand in secrets", edit: "/spec/s3/endpoint https://a:b@s3.example", want: host},
		"endpoint without a scheme":  {reason: "open or sealed?", edit: "/spec/s3/endpoint s3.ticino.example", want: host},
		"bucket of 3":                {reason: "the lower bound", edit: "/spec/s3/bucket abc"},
		"bucket of 2":                {reason: "no name of S3", edit: "/spec/s3/bucket ab", want: "spec.s3.bucket in body should be at least 3 chars long"},
		"bucket of 63":               {reason: "the upper bound", edit: put("/spec/s3/bucket", long(63))},
		"bucket of 64":               {reason: "no name of S3", edit: put("/spec/s3/bucket", long(64)), want: "spec.s3.bucket: Too long"},
		"bucket with a dot":          {reason: "a name of S3", edit: "/spec/s3/bucket broletto.primario"},
		"bucket with two dots":       {reason: "no name of S3", edit: "/spec/s3/bucket broletto..primario", want: bucket},
		"bucket in upper case":       {reason: "no name of S3", edit: "/spec/s3/bucket Broletto", want: bucket},
		"bucket with a slash":        {reason: "the prefix has a field of its own", edit: "/spec/s3/bucket broletto/primario", want: bucket},
		"prefix with a slash before": {reason: "no name of a folder", edit: "/spec/s3/prefix /broletto", want: prefix},
		"prefix with a slash after":  {reason: "it is put there anyway", edit: "/spec/s3/prefix broletto/", want: prefix},
		"prefix with two slashes":    {reason: "a folder without a name", edit: "/spec/s3/prefix broletto//comuni", want: prefix},
		"prefix that climbs":         {reason: "it stays inside", edit: "/spec/s3/prefix a/../b", want: prefix},
		"mode Governance":            {reason: "who holds a right of its own could delete", edit: "/spec/objectLock/mode Governance", want: `spec.objectLock.mode: Unsupported value: "Governance"`},
		"mode Compliance":            {reason: "a mode", edit: "/spec/objectLock/mode Compliance"},
		"mode LegalHold":             {reason: "no mode", edit: "/spec/objectLock/mode LegalHold", want: `spec.objectLock.mode: Unsupported value: "LegalHold"`},
		"lock without a mode":        {reason: "it is said", edit: "/spec/objectLock/mode", want: "spec.objectLock.mode: Required value"},
		"lock without days":          {reason: "it is said", edit: "/spec/objectLock/days", want: "spec.objectLock.days: Required value"},
		"escrow of 61":               {reason: "no public key", edit: put("/spec/escrow", "age1"+strings.Repeat("q", 57)), want: "spec.escrow in body should be at least 62 chars long"},
		"escrow of 63":               {reason: "no public key", edit: put("/spec/escrow", "age1"+strings.Repeat("q", 59)), want: "spec.escrow: Too long"},
		"escrow of a person":         {reason: "an SSH key is none of age's own", edit: put("/spec/escrow", "ssh-ed25519 "+long(50)), want: recipient},
		"escrow of odd letters":      {reason: "bech32 knows no b, i, o and 1", edit: put("/spec/escrow", "age1"+strings.Repeat("b", 58)), want: recipient},
		"escrow in upper case":       {reason: "one key has one form", edit: put("/spec/escrow", "AGE1"+strings.Repeat("Q", 58)), want: recipient},
		"escrow of an identity":      {reason: "the private key stays off line", edit: put("/spec/escrow", "AGE-SECRET-KEY-1"+strings.Repeat("Q", 58)), want: "spec.escrow: Too long"},
	}
	for _, field := range []string{"consortium", "region", "s3", "failureDomain", "escrow", "s3/endpoint", "s3/bucket", "s3/credentialsSecret"} {
		rows["no "+field] = row{reason: "it is said", edit: edits("/spec/" + field), want: "spec." + strings.ReplaceAll(field, "/", ".") + ": Required value"}
	}
	for _, field := range []string{"consortium", "region", "failureDomain", "s3/region"} {
		lengths(rows, "/spec/"+field, "spec."+strings.ReplaceAll(field, "/", "."), 1, 63)
	}
	lengths(rows, "/spec/s3/credentialsSecret", "spec.s3.credentialsSecret", 1, 253)
	lengths(rows, "/spec/s3/prefix", "spec.s3.prefix", 0, 128)
	numbers(rows, "/spec/objectLock/days", "spec.objectLock.days", 1, 3660)
	numbers(rows, "/spec/verifyEveryDays", "spec.verifyEveryDays", 1, 366)
	numbers(rows, "/spec/maxConcurrent", "spec.maxConcurrent", 1, 64)
	statusRows(rows, "")
	delete(rows, "status: spec of the operator's hand") // it has no display name; the next row asks the same
	rows["status: region of the operator's hand"] = row{reason: "the subresource takes a status only", via: status, edit: "/spec/region altrove", gets: "/spec/region ch-ticino-1"}
	inStatus(rows, func(rows map[string]row) { times(rows, "/status/provenAt", "status.provenAt") })
	return rows
}

func databaseRows(rows map[string]row) {
	const at, path = "/spec/databases/0/", "spec.databases[0]."
	database := func(i int) map[string]any {
		return map[string]any{"name": fmt.Sprint("d", i), "engine": "PostgreSQL", "service": "db", "database": "a", "credentialsSecret": "db"}
	}
	for _, field := range []string{"name", "engine", "service", "database", "credentialsSecret"} {
		rows["database without "+field] = row{reason: "it is said", edit: edits(at + field), want: path + field + ": Required value"}
	}
	maps.Copy(rows, map[string]row{
		"databases of the same name": {reason: "a map", edit: put("/spec/databases", []any{database(1), database(1)}), want: "spec.databases[1]: Duplicate value"},
		"database of another engine": {reason: "nothing dumps it", edit: at + "engine Oracle", want: path + `engine: Unsupported value: "Oracle"`},
		"database at 5432":           {reason: "by default", edit: at + "port", gets: at + "port 5432"},
		"database elsewhere":         {reason: "no other host", edit: at + "service db.altrove", want: "service is the name of a Service in the workspace, for example db"},
		"database at an address":     {reason: "no other host", edit: at + "service 10.0.0.1", want: "service is the name of a Service in the workspace, for example db"},
		"database of words":          {reason: "a program takes it for more", edit: at + `database "host=altrove dbname=a"`, want: "database is a name of letters, digits, dashes, dots and underscores"},
		"database as an address":     {reason: "a program takes it for more", edit: at + "database postgres://altrove/a", want: "database is a name of letters, digits, dashes, dots and underscores"},
		"database as an option":      {reason: "a program takes it for more", edit: at + "database --file=a", want: "database is a name of letters, digits, dashes, dots and underscores"},
		"database in capitals":       {reason: "PostgreSQL has them", edit: at + "database Anagrafe_2026.a-b"},
		"database of a path":         {reason: "a Secret's name", edit: at + "credentialsSecret a/b", want: "credentialsSecret is the name of a Secret in the workspace, for example db-backup"},
	})
	labelsAt(rows, at+"name", path+"name", "name is a DNS label of at most 63 characters, for example anagrafe")
	items(rows, "/spec/databases", "spec.databases", 8, database)
	lengths(rows, at+"service", path+"service", 1, 63)
	lengths(rows, at+"database", path+"database", 1, 63)
	lengths(rows, at+"credentialsSecret", path+"credentialsSecret", 1, 253)
	numbers(rows, at+"port", path+"port", 1, 65535)
}

func backupPolicyRows() map[string]row {
	either := "name workspaces, or select them by selector: {matchLabels: …}, not both"
	selector := func(text string) edits { return edits("/spec/workspaces\n/spec/selector " + text + "\n") }
	clock := "schedule is minute and hour as numbers, then day of month, month and day of week"
	zone := "timeZone is a name of the IANA database, for example Europe/Rome"
	label := "metadata.name is a DNS label of at most 40 characters without --, for example notturno: backups are named after it"
	pods := "podSelector has 1 to 8 matchLabels, for example {matchLabels: {app: db}}"
	operator := "an operator is In or NotIn with values, or Exists or DoesNotExist without"
	hook := func(i int) map[string]any {
		return map[string]any{"name": fmt.Sprint("h", i), "podSelector": map[string]any{"matchLabels": labels(1)}, "after": []string{"true"}}
	}
	rows := map[string]row{
		"the valid one": {reason: "it says everything that can be said"},
		"the shortest one": {reason: "what works without more", edit: "/spec {workspaces: [sportello], repository: primario, schedule: 30 2 * * *, retention: {}}",
			gets: `/spec {"repository": "primario", "retention": {"last": 1}, "schedule": "30 2 * * *", "workspaces": ["sportello"]}`},
		"unknown field":             {reason: "a typing error must not pass", edit: "/spec/retentions {}", want: `unknown field "spec.retentions"`},
		"a namespace":               {reason: "no field names a namespace", edit: "/spec/namespace kube-system", want: `unknown field "spec.namespace"`},
		"pods elsewhere":            {reason: "no field names a namespace", edit: "/spec/hooks/0/namespace kube-system", want: `unknown field "spec.hooks[0].namespace"`},
		"no spec":                   {reason: "nothing is no policy", edit: "/spec", want: "spec: Required value"},
		"name of 40":                {reason: "the upper bound", edit: put("/metadata/name", long(40))},
		"name of 41":                {reason: "backups are named after it", edit: put("/metadata/name", long(41)), want: label},
		"name with two dashes":      {reason: "two names make one", edit: "/metadata/name a--b", want: label},
		"name with a dot":           {reason: "a subdomain is no label", edit: "/metadata/name a.b", want: label},
		"no workspaces":             {reason: "of what", edit: "/spec/workspaces", want: either},
		"named and selected":        {reason: "one way", edit: "/spec/selector {matchLabels: {a: b}}", want: either},
		"selected":                  {reason: "a way", edit: selector("{matchLabels: {a: b}}")},
		"all selected":              {reason: "as Kubernetes has it", edit: selector("{}")},
		"workspaces of none":        {reason: "of what", edit: "/spec/workspaces []", want: "spec.workspaces in body should have at least 1 items"},
		"one workspace":             {reason: "the lower bound", edit: "/spec/workspaces [sportello]"},
		"a workspace twice":         {reason: "a set", edit: "/spec/workspaces [a, a]", want: "spec.workspaces[1]: Duplicate value"},
		"workspaces change":         {reason: "one more is backed up", via: update, edit: "/spec/workspaces [sportello]"},
		"selector of 16 labels":     {reason: "the upper bound", edit: selector("{}") + put("/spec/selector/matchLabels", labels(16))},
		"selector of 17 labels":     {reason: "every map is bounded", edit: selector("{}") + put("/spec/selector/matchLabels", labels(17)), want: "selector has at most 16 matchLabels and 16 matchExpressions"},
		"selector of 16 rules":      {reason: "the upper bound", edit: selector("{}") + put("/spec/selector/matchExpressions", expressions(16))},
		"selector of 17 rules":      {reason: "every list is bounded", edit: selector("{}") + put("/spec/selector/matchExpressions", expressions(17)), want: "selector has at most 16 matchLabels and 16 matchExpressions"},
		"selector In":               {reason: "an operator", edit: selector("{matchExpressions: [{key: a, operator: In, values: [b]}]}")},
		"selector In nothing":       {reason: "the operator could not read it", edit: selector("{matchExpressions: [{key: a, operator: In}]}"), want: operator},
		"selector Exists in values": {reason: "the operator could not read it", edit: selector("{matchExpressions: [{key: a, operator: Exists, values: [b]}]}"), want: operator},
		"selector Like":             {reason: "no operator", edit: selector("{matchExpressions: [{key: a, operator: Like, values: [b]}]}"), want: operator},
		"no repository":             {reason: "where to", edit: "/spec/repository", want: "spec.repository: Required value"},
		"no schedule":               {reason: "when", edit: "/spec/schedule", want: "spec.schedule: Required value"},
		"schedule at midnight":      {reason: "the first minute, and the lower bound", edit: "/spec/schedule '0 0 * * *'"},
		"schedule at 23:59":         {reason: "the last minute", edit: "/spec/schedule '59 23 * * *'"},
		"schedule at 02:05":         {reason: "as clocks show it", edit: "/spec/schedule '05 02 * * *'"},
		"schedule of workdays":      {reason: "a range", edit: "/spec/schedule '30 2 * * 1-5'"},
		"schedule of some days":     {reason: "a list, a step", edit: "/spec/schedule '30 2 1,15 */2 *'"},
		"schedule at 24:00":         {reason: "a day has 24 hours", edit: "/spec/schedule '0 24 * * *'", want: clock},
		"schedule at 2:60":          {reason: "an hour has 60 minutes", edit: "/spec/schedule '60 2 * * *'", want: clock},
		"schedule every hour":       {reason: "one run a day", edit: "/spec/schedule '30 * * * *'", want: clock},
		"schedule every minute":     {reason: "one run a day", edit: "/spec/schedule '* 2 * * *'", want: clock},
		"schedule twice a day":      {reason: "one run a day", edit: "/spec/schedule '30 2,14 * * *'", want: clock},
		"schedule @daily":           {reason: "at what time?", edit: "/spec/schedule '@daily  '", want: "spec.schedule in body should be at least 9 chars long"},
		"schedule @midnight":        {reason: "a parser of five fields", edit: "/spec/schedule '@midnight'", want: clock},
		"schedule with a zone":      {reason: "parsers have stumbled over it; it has a field of its own", edit: "/spec/schedule 'TZ=0 30 2 * * *'", want: clock},
		"schedule in letters":       {reason: "numbers have one form", edit: "/spec/schedule '30 2 * * MON'", want: clock},
		"schedule of six":           {reason: "five fields", edit: "/spec/schedule '0 30 2 * * *'", want: clock},
		"schedule of two blanks":    {reason: "one form", edit: "/spec/schedule '30  2 * * *'", want: clock},
		"schedule of 64":            {reason: "the upper bound", edit: put("/spec/schedule", "30 2 * * 1"+strings.Repeat(",1", 27))},
		"schedule of 66":            {reason: "every text is bounded", edit: put("/spec/schedule", "30 2 * * 1"+strings.Repeat(",1", 28)), want: "spec.schedule: Too long"},
		"schedule of 65":            {reason: "every text is bounded", edit: put("/spec/schedule", "30 2 * * 11"+strings.Repeat(",1", 27)), want: "spec.schedule: Too long"},
		"no timeZone":               {reason: "the consortium's", edit: "/spec/timeZone"},
		"timeZone UTC":              {reason: "a zone, and the lower bound", edit: "/spec/timeZone UTC"},
		"timeZone of three":         {reason: "a zone", edit: "/spec/timeZone America/Argentina/Buenos_Aires"},
		"timeZone empty":            {reason: "leave it out", edit: `/spec/timeZone ""`, want: "spec.timeZone in body should be at least 3 chars long"},
		"timeZone Local":            {reason: "Go takes it for the operator's own", edit: "/spec/timeZone Local", want: zone},
		"timeZone that climbs":      {reason: "zones are files", edit: "/spec/timeZone ../../etc/passwd", want: zone},
		"timeZone as an offset":     {reason: "no zone has one", edit: `/spec/timeZone "+01:00"`, want: zone},
		"timeZone of 64":            {reason: "the upper bound", edit: put("/spec/timeZone", "E"+long(60)+"/Rm")},
		"timeZone of 65":            {reason: "every text is bounded", edit: put("/spec/timeZone", "E"+long(61)+"/Rm"), want: "spec.timeZone: Too long"},
		"no retention":              {reason: "nothing is kept for ever unasked", edit: "/spec/retention", want: "spec.retention: Required value"},
		"retention of nothing":      {reason: "the last one is kept", edit: "/spec/retention {}", gets: "/spec/retention/last 1"},
		"no promises":               {reason: "nothing is promised", edit: "/spec/recoveryPointHours\n/spec/recoveryTimeMinutes\n/spec/drill"},
		"copy of the same":          {reason: "it would be none", edit: `/spec/copies ["secondo", "primario"]`, want: "copies are further repositories: leave out the one that repository names"},
		"copies":                    {reason: "three fail apart", edit: `/spec/copies ["secondo", "terzo"]`},
		"no copies, but a list":     {reason: "leave it out", edit: `/spec/copies []`, want: "spec.copies in body should have at least 1 items"},
		"time without a drill":      {reason: "nobody measures it", edit: "/spec/drill", want: "recoveryTimeMinutes is measured by drills: add drill: {everyDays: 30}"},
		"drill without a promise":   {reason: "it rehearses", edit: "/spec/recoveryTimeMinutes"},
		"drill never":               {reason: "leave drill out", edit: "/spec/drill {}", want: "spec.drill.everyDays: Required value"},
		"hooks of the same name":    {reason: "a map", edit: put("/spec/hooks", []any{hook(1), hook(1)}), want: "spec.hooks[1]: Duplicate value"},
		"hook without a name":       {reason: "messages name it", edit: "/spec/hooks/0/name", want: "spec.hooks[0].name: Required value"},
		"hook of no pod":            {reason: "where", edit: "/spec/hooks/0/podSelector", want: "spec.hooks[0].podSelector: Required value"},
		"hook of any pod":           {reason: "where", edit: "/spec/hooks/0/podSelector {}", want: pods},
		"hook of no label":          {reason: "where", edit: "/spec/hooks/0/podSelector {matchLabels: {}}", want: pods},
		"hook of 8 labels":          {reason: "the upper bound", edit: put("/spec/hooks/0/podSelector", map[string]any{"matchLabels": labels(8)})},
		"hook of 9 labels":          {reason: "every map is bounded", edit: put("/spec/hooks/0/podSelector", map[string]any{"matchLabels": labels(9)}), want: pods},
		"hook of rules":             {reason: "labels do", edit: "/spec/hooks/0/podSelector/matchExpressions [{key: a, operator: Exists}]", want: pods},
		"hook of nothing":           {reason: "it does something", edit: "/spec/hooks/0/before\n/spec/hooks/0/after", want: "a hook has before, after or both, for example before: [sync]"},
		"hook before":               {reason: "one of them", edit: "/spec/hooks/0/after"},
		"hook after":                {reason: "one of them", edit: "/spec/hooks/0/before"},
		"hook before of one word":   {reason: "the lower bound", edit: "/spec/hooks/0/before [sync]"},
		"hook after of one word":    {reason: "the lower bound", edit: "/spec/hooks/0/after [sync]"},
		"hook before of none":       {reason: "a command", edit: "/spec/hooks/0/before []", want: "spec.hooks[0].before in body should have at least 1 items"},
		"hook after of none":        {reason: "a command", edit: "/spec/hooks/0/after []", want: "spec.hooks[0].after in body should have at least 1 items"},
		"hook of five minutes":      {reason: "by default", edit: "/spec/hooks/0/timeoutSeconds", gets: "/spec/hooks/0/timeoutSeconds 300"},
	}
	databaseRows(rows)
	word := func(int) string { return "a" }
	workspaceNames(rows, creation, "/spec/workspaces/0", "spec.workspaces[0]")
	repositoryNames(rows)
	labelsAt(rows, "/spec/hooks/0/name", "spec.hooks[0].name", "name is a DNS label of at most 63 characters, for example dump")
	items(rows, "/spec/workspaces", "spec.workspaces", 100, func(i int) string { return fmt.Sprint("w", i) })
	items(rows, "/spec/hooks", "spec.hooks", 16, hook)
	items(rows, "/spec/hooks/0/before", "spec.hooks[0].before", 32, word)
	items(rows, "/spec/hooks/0/after", "spec.hooks[0].after", 32, word)
	lengths(rows, "/spec/hooks/0/before/0", "spec.hooks[0].before[0]", 0, 4096)
	lengths(rows, "/spec/hooks/0/after/0", "spec.hooks[0].after[0]", 0, 4096)
	lengths(rows, "/spec/hooks/0/container", "spec.hooks[0].container", 0, 63)
	numbers(rows, "/spec/hooks/0/timeoutSeconds", "spec.hooks[0].timeoutSeconds", 1, 3600)
	for field, most := range map[string]int{"daily": 366, "weekly": 260, "monthly": 240, "yearly": 50} {
		numbers(rows, "/spec/retention/"+field, "spec.retention."+field, 0, most)
	}
	numbers(rows, "/spec/retention/last", "spec.retention.last", 1, 365)
	numbers(rows, "/spec/recoveryPointHours", "spec.recoveryPointHours", 1, 8784)
	numbers(rows, "/spec/recoveryTimeMinutes", "spec.recoveryTimeMinutes", 1, 10080)
	numbers(rows, "/spec/drill/everyDays", "spec.drill.everyDays", 1, 366)
	checkRows(rows, "/spec/drill/checks", "spec.drill.checks")
	statusRows(rows, "")
	delete(rows, "status: spec of the operator's hand") // it has no display name; the next row asks the same
	rows["status: schedule of the operator's hand"] = row{reason: "the subresource takes a status only", via: status, edit: "/spec/schedule '0 0 * * *'", gets: "/spec/schedule '30 2 * * *'"}
	inStatus(rows, policyStatusRows)
	return rows
}

func policyStatusRows(rows map[string]row) {
	const first, path = "/status/workspaces/0", "status.workspaces[0]"
	times(rows, "/status/nextRun", "status.nextRun")
	items(rows, "/status/workspaces", "status.workspaces", 500, func(i int) map[string]string { return map[string]string{"name": fmt.Sprint("w", i)} })
	rows["a workspace twice"] = row{reason: "a map", edit: "/status/workspaces [{name: a}, {name: a}]", want: "status.workspaces[1]: Duplicate value"}
	rows["a workspace without a name"] = row{reason: "of what", edit: first + "/name", want: path + ".name: Required value"}
	workspaceNames(rows, status, first+"/name", path+".name")
	delete(rows, path+".name empty") // the API server words it otherwise here
	rows[path+".name of nothing"] = row{reason: "no name is not a name", edit: first + `/name ""`, want: "workspaces[0].name in body should be at least 1 chars long"}
	for _, field := range []string{"/backup", "/verified", "/drill/restore", "/drill/backup"} {
		lengths(rows, first+field, path+strings.ReplaceAll(field, "/", "."), 0, 253)
	}
	for _, field := range []string{"/scheduledFor", "/verifiedAt", "/drill/at"} {
		times(rows, first+field, path+strings.ReplaceAll(field, "/", "."))
	}
	rows["a workspace of a class unknown"] = row{reason: "nobody has it", edit: first + "/dataClass Secret", want: path + `.dataClass: Unsupported value: "Secret"`}
	const rules, where = "/status/effective/0", "status.effective[0]"
	rows["rules of a class twice"] = row{reason: "a map", edit: "/status/effective [{dataClass: Critical, retention: {}}, {dataClass: Critical, retention: {}}]", want: "status.effective[1]: Duplicate value"}
	rows["rules of no class"] = row{reason: "of what", edit: rules + "/dataClass", want: where + ".dataClass: Required value"}
	rows["rules without retention"] = row{reason: "what is kept", edit: rules + "/retention", want: where + ".retention: Required value"}
	numbers(rows, rules+"/retention/daily", "effective[0].retention.daily", 0, 366)
	numbers(rows, rules+"/recoveryPointHours", "effective[0].recoveryPointHours", 1, 8784)
	numbers(rows, rules+"/drillEveryDays", "effective[0].drillEveryDays", 1, 366)
	for _, field := range []string{"restore", "backup", "at", "passed", "seconds", "bytesRead"} {
		rows["a drill without "+field] = row{reason: "evidence is whole", edit: edits(first + "/drill/" + field), want: path + ".drill." + field + ": Required value"}
	}
	lengths(rows, first+"/drill/message", path+".drill.message", 0, 1024)
	counts(rows, first+"/drill/seconds", path+".drill.seconds", 2147483647)
	counts(rows, first+"/drill/bytesRead", path+".drill.bytesRead", 9007199254740991)
	outcome := func(i int) map[string]any {
		return map[string]any{"name": fmt.Sprint("c", i), "passed": true, "seconds": 1}
	}
	items(rows, first+"/drill/checks", path+".drill.checks", 8, outcome)
	rows["a check's outcome twice"] = row{reason: "a map", edit: put(first+"/drill/checks", []any{outcome(1), outcome(1)}), want: path + ".drill.checks[1]: Duplicate value"}
	for _, field := range []string{"name", "passed", "seconds"} {
		rows["an outcome without "+field] = row{reason: "evidence is whole", edit: edits(first + "/drill/checks/0/" + field), want: path + ".drill.checks[0]." + field + ": Required value"}
	}
	lengths(rows, first+"/drill/checks/0/name", path+".drill.checks[0].name", 0, 63)
	lengths(rows, first+"/drill/checks/0/message", path+".drill.checks[0].message", 0, 128)
	counts(rows, first+"/drill/checks/0/seconds", path+".drill.checks[0].seconds", 2147483647)
	for field, most := range map[string]int{"name": 256, "digest": 64, "signature": 88} {
		rows["evidence without "+field] = row{reason: "evidence is whole", edit: edits(first + "/drill/evidence/" + field), want: path + ".drill.evidence." + field + ": Required value"}
		lengths(rows, first+"/drill/evidence/"+field, path+".drill.evidence."+field, 0, most)
	}
}

// checkRows are the rows of a drill's checks, of which there is one of each sort: of pods, by HTTP, by a command.
func checkRows(all map[string]row, pointer, path string) {
	rows := map[string]row{}
	defer func() {
		for name, r := range rows {
			if strings.Contains(r.want, " in body ") {
				r.want = strings.TrimPrefix(r.want, "status.") // the API server words it otherwise there
			}
			all[name] = r
		}
	}()
	at := func(i int, field string) (string, string) {
		return fmt.Sprint(pointer, "/", i, "/", field), fmt.Sprint(path, "[", i, "].", strings.ReplaceAll(field, "/", "."))
	}
	one := "a check is one of podsReady, http and command, for example podsReady: {podSelector: {matchLabels: {app: web}}}"
	check := func(i int) map[string]any {
		return map[string]any{"name": fmt.Sprint("c", i), "http": map[string]any{"service": "web"}}
	}
	items(rows, pointer, path, 8, check)
	rows["checks of the same name"] = row{reason: "a map", edit: put(pointer, []any{check(1), check(1)}), want: path + "[1]: Duplicate value"}
	rows["a check by default"] = row{reason: "the shortest one", edit: put(pointer, []any{check(1)}), gets: edits(pointer +
		` [{"http": {"path": "/", "scheme": "HTTP", "service": "web", "status": 200}, "name": "c1", "timeoutSeconds": 300}]`)}
	rows["a check of nothing"] = row{reason: "it asks something", edit: edits(pointer + "/0/podsReady"), want: one}
	rows["a check of two"] = row{reason: "each has a name of its own", edit: edits(pointer + "/0/http {service: web}"), want: one}
	for i, field := range []string{"name", "http/service", "command/command"} {
		where, name := at(i, field)
		rows["a check without "+field] = row{reason: "it is needed", edit: edits(where), want: name + ": Required value"}
	}
	where, name := at(0, "name")
	labelsAt(rows, where, name, "name is a DNS label of at most 63 characters, for example web")
	for i := range 3 {
		where, name := at(i, "timeoutSeconds")
		numbers(rows, where, name, 1, 1200)
	}
	for i, field := range map[int]string{0: "podsReady/podSelector", 2: "command/podSelector"} {
		app := map[int]string{0: "web", 2: "db"}[i]
		where, name := at(i, field)
		want := "podSelector has 1 to 8 matchLabels, for example {matchLabels: {app: " + app + "}}"
		rows[name+" missing"] = row{reason: "where", edit: edits(where), want: name + ": Required value"}
		for edit, want := range map[string]string{"{}": want, "{matchLabels: {}}": want, "{matchLabels: {a: b}, matchExpressions: [{key: a, operator: Exists}]}": want} {
			rows[name+" "+edit] = row{reason: "which pods", edit: edits(where + " " + edit), want: want}
		}
		rows[name+" of 8"] = row{reason: "the upper bound", edit: put(where, map[string]any{"matchLabels": labels(8)})}
		rows[name+" of 9"] = row{reason: "every map is bounded", edit: put(where, map[string]any{"matchLabels": labels(9)}), want: want}
	}
	where, name = at(1, "http/service")
	lengths(rows, where, name, 1, 63)
	for _, bad := range []string{"1web", "a.b", "a-", "Web", "evil.example/"} {
		rows[name+" "+bad] = row{reason: "no name of a Service", edit: put(where, bad), want: "service is the name of a Service, for example web"}
	}
	where, name = at(1, "http/port")
	numbers(rows, where, name, 1, 65535)
	where, name = at(1, "http/status")
	numbers(rows, where, name, 200, 599)
	where, name = at(1, "http/path")
	rows[name+" of 1024"] = row{reason: "the upper bound", edit: put(where, "/"+long(1023))}
	rows[name+" of 1025"] = row{reason: "every text is bounded", edit: put(where, "/"+long(1024)), want: name + ": Too long"}
	for _, bad := range []string{"health", "", "/a b", "/\r\nHost: x", "/è", "@evil.example/"} {
		rows[name+" "+bad] = row{reason: "it would be another request", edit: put(where, bad), want: "path begins with a slash and has no blanks, for example /health"}
	}
	where, name = at(2, "command/command")
	items(rows, where, name, 16, func(int) string { return "a" })
	rows[name+" of none"] = row{reason: "a command", edit: edits(where + " []"), want: name + " in body should have at least 1 items"}
	rows[name+" of one"] = row{reason: "the lower bound", edit: edits(where + " [sync]")}
	where, name = at(2, "command/command/0")
	lengths(rows, where, strings.Replace(name, "command.0", "command[0]", 1), 0, 2048)
	where, name = at(2, "command/container")
	lengths(rows, where, name, 0, 63)
}

func backupRows() map[string]row {
	stays := "a backup is of what it was made of: make another one"
	rows := map[string]row{
		"the valid one":         {reason: "it says everything that can be said"},
		"the shortest one":      {reason: "what works without more", edit: "/spec {workspace: sportello, repository: primario}", gets: `/spec {"repository": "primario", "workspace": "sportello"}`},
		"unknown field":         {reason: "a typing error must not pass", edit: "/spec/keep 3", want: `unknown field "spec.keep"`},
		"a namespace":           {reason: "no field names a namespace", edit: "/spec/namespace kube-system", want: `unknown field "spec.namespace"`},
		"no spec":               {reason: "nothing is no backup", edit: "/spec", want: "spec: Required value"},
		"no workspace":          {reason: "of what", edit: "/spec/workspace", want: "spec.workspace: Required value"},
		"no repository":         {reason: "where to", edit: "/spec/repository", want: "spec.repository: Required value"},
		"workspace changes":     {reason: "it is made", via: update, edit: "/spec/workspace altro", want: stays},
		"repository changes":    {reason: "it is there", via: update, edit: "/spec/repository altro", want: stays},
		"it is kept for longer": {reason: "who needs it says so", via: update, edit: "/spec/keepDays 60"},
		"it is kept for good":   {reason: "until it is deleted", via: update, edit: "/spec/keepDays"},
	}
	objectNames(rows, "metadata.name has lower-case letters, digits and dashes, at most 120, for example prima-del-rilascio")
	workspaceNames(rows, creation, "/spec/workspace", "spec.workspace")
	repositoryNames(rows)
	numbers(rows, "/spec/keepDays", "spec.keepDays", 1, 36600)
	statusRows(rows, "")
	delete(rows, "status: spec of the operator's hand") // it has no display name; the next row asks the same
	rows["status: days of the operator's hand"] = row{reason: "the subresource takes a status only", via: status, edit: "/spec/keepDays 7", gets: "/spec/keepDays 30"}
	inStatus(rows, func(rows map[string]row) {
		times(rows, "/status/startedAt", "status.startedAt")
		times(rows, "/status/verifiedAt", "status.verifiedAt")
		counts(rows, "/status/sequence", "status.sequence", 9999999999)
		counts(rows, "/status/objects", "status.objects", 2147483647)
		counts(rows, "/status/bytes", "status.bytes", 9007199254740991)
		counts(rows, "/status/written", "status.written", 9007199254740991)
		lengths(rows, "/status/manifest", "status.manifest", 0, 64)
		reports(rows, "leftOut")
		names(rows, "lost")
	})
	return rows
}

func restoreRows() map[string]row {
	stays := "a restore is what it was: make another one"
	one := "into names workspace, one that is there, or newWorkspace, one that is made"
	into := func(text string) edits { return edits("/spec/into " + text) }
	rows := map[string]row{
		"the valid one": {reason: "it says everything that can be said"},
		"the shortest one": {reason: "what works without more", edit: "/spec {backup: a, into: {newWorkspace: b}}",
			gets: `/spec {"backup": "a", "bindings": "Skip", "into": {"newWorkspace": "b"}, "mode": "Apply"}`},
		"unknown field":         {reason: "a typing error must not pass", edit: "/spec/dryRun true", want: `unknown field "spec.dryRun"`},
		"a namespace":           {reason: "there is no way into another tenant", edit: "/spec/into/namespace bellinzona", want: `unknown field "spec.into.namespace"`},
		"a tenant":              {reason: "there is no way into another tenant", edit: "/spec/into/tenant bellinzona", want: `unknown field "spec.into.tenant"`},
		"no spec":               {reason: "nothing is no restore", edit: "/spec", want: "spec: Required value"},
		"no backup":             {reason: "of what", edit: "/spec/backup", want: "spec.backup: Required value"},
		"no into":               {reason: "where to", edit: "/spec/into", want: "spec.into: Required value"},
		"into nothing":          {reason: "where to", edit: into("{}"), want: one},
		"into both":             {reason: "one place", edit: into("{workspace: a, newWorkspace: b}"), want: one},
		"into a workspace":      {reason: "a place", edit: into("{workspace: a}"), gets: `/spec/into {"workspace": "a"}`},
		"into a new one":        {reason: "a place", edit: into("{newWorkspace: a}")},
		"into a new one, Skip":  {reason: "nothing is there", edit: into("{newWorkspace: a, conflicts: Skip}"), want: "conflicts goes with workspace: a new one has none"},
		"conflicts Skip":        {reason: "a way", edit: "/spec/into/conflicts Skip"},
		"conflicts Replace":     {reason: "a way", edit: "/spec/into/conflicts Replace"},
		"conflicts Merge":       {reason: "no way", edit: "/spec/into/conflicts Merge", want: `spec.into.conflicts: Unsupported value: "Merge"`},
		"mode Apply":            {reason: "a mode", edit: "/spec/mode Apply"},
		"mode Undo":             {reason: "no mode", edit: "/spec/mode Undo", want: `spec.mode: Unsupported value: "Undo"`},
		"mode by default":       {reason: "who restores wants it back", edit: "/spec/mode", gets: "/spec/mode Apply"},
		"bindings Skip":         {reason: "a way", edit: "/spec/bindings Skip"},
		"bindings Merge":        {reason: "no way", edit: "/spec/bindings Merge", want: `spec.bindings: Unsupported value: "Merge"`},
		"bindings by default":   {reason: "only on request", edit: "/spec/bindings", gets: "/spec/bindings Skip"},
		"backup changes":        {reason: "it is planned", via: update, edit: "/spec/backup altro", want: stays},
		"into changes":          {reason: "it is planned", via: update, edit: "/spec/into/workspace altro", want: stays},
		"conflicts change":      {reason: "it is planned", via: update, edit: "/spec/into/conflicts Skip", want: stays},
		"bindings change":       {reason: "it is planned", via: update, edit: "/spec/bindings Skip", want: stays},
		"a plan is carried out": {reason: "after a look at it", via: update, edit: "/spec/mode Apply"},
		"a restore is planned":  {reason: "it is done", via: update, from: "/spec/mode Apply", edit: "/spec/mode DryRun", want: "what was restored cannot be planned: make another one"},
		"a restore stays":       {reason: "labels change", via: update, from: "/spec/mode Apply", edit: "/metadata/labels {a: b}"},
		"backup of one letter":  {reason: "the lower bound", edit: "/spec/backup a"},
	}
	objectNames(rows, "metadata.name has lower-case letters, digits and dashes, at most 120, for example confronto")
	lengths(rows, "/spec/backup", "spec.backup", 1, 120)
	workspaceNames(rows, creation, "/spec/into/workspace", "spec.into.workspace")
	fresh := map[string]row{}
	workspaceNames(fresh, creation, "/spec/into/newWorkspace", "spec.into.newWorkspace")
	for name, r := range fresh {
		r.edit = "/spec/into {}\n" + r.edit
		rows[name] = r
	}
	statusRows(rows, "")
	delete(rows, "status: spec of the operator's hand") // it has no display name; the next row asks the same
	rows["status: mode of the operator's hand"] = row{reason: "the subresource takes a status only", via: status, edit: "/spec/mode Apply", gets: "/spec/mode DryRun"}
	inStatus(rows, func(rows map[string]row) {
		times(rows, "/status/startedAt", "status.startedAt")
		times(rows, "/status/finishedAt", "status.finishedAt")
		for _, field := range []string{"creates", "same", "skipped", "replaced"} {
			counts(rows, "/status/"+field, "status."+field, 2147483647)
		}
		counts(rows, "/status/bytesRead", "status.bytesRead", 9007199254740991)
		lengths(rows, "/status/requester", "status.requester", 0, 512)
		lengths(rows, "/status/namespace", "status.namespace", 0, 63)
		counts(rows, "/status/sequence", "status.sequence", 9999999999)
		lengths(rows, "/status/manifest", "status.manifest", 0, 64)
		checkRows(rows, "/status/checks", "status.checks")
		times(rows, "/status/checks/0/beganAt", "status.checks[0].beganAt")
		counts(rows, "/status/checks/0/seconds", "status.checks[0].seconds", 2147483647)
		lengths(rows, "/status/checks/0/message", "status.checks[0].message", 0, 1024)
		reports(rows, "refused")
		names(rows, "conflicts")
		names(rows, "lost")
	})
	return rows
}

// inStatus adds rows of status, which fill makes as if they were of a creation.
func inStatus(rows map[string]row, fill func(rows map[string]row)) {
	part := map[string]row{}
	fill(part)
	for name, r := range part {
		r.via = status
		rows["status: "+name] = r
	}
}

// times adds the rows of a time that Go can read.
func times(rows map[string]row, pointer, path string) {
	rule := "a time is as RFC 3339 writes it, for example 2027-06-30T00:00:00Z"
	rows[path+" with an offset"] = row{reason: "a time", edit: edits(pointer + ` "2026-01-01T00:00:00.5+01:00"`)}
	rows[path+" in lower case"] = row{reason: "Go cannot read it, and one such object stops the List of its kind", edit: edits(pointer + ` "2026-01-01t00:00:00z"`), want: rule}
	rows[path+" and rubbish"] = row{reason: "Go cannot read it, and one such object stops the List of its kind", edit: edits(pointer + ` "2026-01-01T00:00:00x5Z"`), want: rule}
}

// counts adds the rows of a number from 0 on.
func counts(rows map[string]row, pointer, path string, most int) {
	for name, r := range map[string]row{
		"0":                    {reason: "the lower bound", edit: put(pointer, 0)},
		"-1":                   {reason: "a count", edit: put(pointer, -1), want: strings.TrimPrefix(path, "status.") + " in body should be greater than or equal to 0"},
		fmt.Sprint(most):       {reason: "the upper bound", edit: put(pointer, most)},
		fmt.Sprint(most, "+1"): {reason: "every number is bounded", edit: put(pointer, most+1), want: path},
	} {
		rows[path+" "+name] = r
	}
}

// names adds the rows of a list of names of objects in status.
func names(rows map[string]row, field string) {
	items(rows, "/status/"+field, "status."+field, 64, func(i int) string { return fmt.Sprint("ConfigMap/c", i) })
	lengths(rows, "/status/"+field+"/0", "status."+field+"[0]", 0, 512)
}

// reports adds the rows of a list of LeftOut in status.
func reports(rows map[string]row, field string) {
	items(rows, "/status/"+field, "status."+field, 64, func(i int) map[string]string { return map[string]string{"what": fmt.Sprint("Secret/s", i), "why": ""} })
	for part, most := range map[string]int{"what": 512, "why": 1024} {
		pointer, path := "/status/"+field+"/0/"+part, "status."+field+"[0]."+part
		lengths(rows, pointer, path, 0, most)
		rows[path+" absent"] = row{reason: "what, and why", edit: edits(pointer), want: path + ": Required value"}
	}
}

// objectNames adds the rows of the name of a Backup or Restore.
func objectNames(rows map[string]row, rule string) {
	for name, r := range map[string]row{
		"of 120":        {reason: "the upper bound", edit: put("/metadata/name", long(120))},
		"of 121":        {reason: "names are made of it", edit: put("/metadata/name", long(121)), want: rule},
		"of one letter": {reason: "the lower bound", edit: "/metadata/name a"},
		"with a dot":    {reason: "one form", edit: "/metadata/name a.b", want: rule},
		"generated":     {reason: "what the server makes up is tested too", edit: "/metadata/name\n/metadata/generateName a.", want: rule},
	} {
		rows["name "+name] = r
	}
}

// repositoryNames adds the rows of the name of a BackupRepository.
func repositoryNames(rows map[string]row) {
	const pointer, path = "/spec/repository", "spec.repository"
	lengths(rows, pointer, path, 1, 40)
	for _, name := range []string{"Primario", "a.b", "a-", "-a"} {
		rows[path+" "+name] = row{reason: "no label", edit: put(pointer, name), want: "a repository's name is a DNS label of at most 40 characters, for example primario"}
	}
}
