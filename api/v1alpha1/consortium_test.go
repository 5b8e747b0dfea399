package v1alpha1_test

import (
	"fmt"
	"maps"
)

func consortiumRows() map[string]row {
	rows := map[string]row{
		"the valid one": {reason: "it says everything that can be said"},
		"the shortest one": {reason: "what is optional may be left out", edit: "/spec/agreement/until\n/spec/agreement/expulsionClause\n/spec/budgets\n/spec/controls\n/spec/network\n/spec/backupFloors\n/spec/defaults/workspace/podSecurity\n/spec/defaults/workspace/imagePullPolicy",
			gets: `/spec/agreement/expulsionClause false
				/spec/network {"internetIngress": "ingress-internet", "consortiumIngress": "ingress-consortium", "protectedCIDRs": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]}
				/spec/defaults/workspace/podSecurity Restricted
				/spec/defaults/workspace/imagePullPolicy IfNotPresent
				/spec/agreement/until`},
		"unknown field":       {reason: "a typing error must not pass", edit: `/spec/curency "CHF"`, want: `unknown field "spec.curency"`},
		"no spec":             {reason: "nothing is not an agreement", edit: "/spec", want: "spec: Required value"},
		"spec null":           {reason: "null is nothing", edit: "/spec null", want: "spec: Required value"},
		"name of 30":          {reason: "tenants name it", edit: put("/metadata/name", long(30))},
		"name of 31":          {reason: "tenants name it", edit: put("/metadata/name", long(31)), want: "metadata.name is a DNS label of at most 30 characters, for example ticino"},
		"name with a dot":     {reason: "a subdomain is no label", edit: `/metadata/name "ticino.ch"`, want: "metadata.name is a DNS label"},
		"name in upper case":  {reason: "Kubernetes itself refuses it", edit: `/metadata/name "Ticino"`, want: "metadata.name: Invalid value"},
		"country IT":          {reason: "it follows currency and clock", edit: "/spec/country IT\n/spec/currency EUR\n/spec/timeZone Europe/Rome"},
		"country FR":          {reason: "a law that we do not know", edit: "/spec/country FR", want: `spec.country: Unsupported value: "FR": supported values: "CH", "IT"`},
		"no country":          {reason: "it decides the law", edit: "/spec/country", want: "spec.country: Required value"},
		"country changes":     {reason: "another country is another consortium", via: update, edit: "/spec/country IT\n/spec/currency EUR", want: "country cannot change: another country is another consortium"},
		"currency CHF in IT":  {reason: "comuni pay in their own currency", edit: "/spec/country IT", want: "currency follows country: CHF for CH, EUR for IT"},
		"currency EUR in CH":  {reason: "comuni pay in their own currency", edit: "/spec/currency EUR", want: "currency follows country: CHF for CH, EUR for IT"},
		"currency USD":        {reason: "nobody here pays in it", edit: "/spec/currency USD", want: `spec.currency: Unsupported value: "USD"`},
		"no currency":         {reason: "costs are shared in it", edit: "/spec/currency", want: "spec.currency: Required value"},
		"time zone UTC":       {reason: "no comune lives there", edit: "/spec/timeZone UTC", want: `spec.timeZone: Unsupported value: "UTC"`},
		"no time zone":        {reason: "days begin in it", edit: "/spec/timeZone", want: "spec.timeZone: Required value"},
		"time zone is a rule": {reason: "a zone rule is not a zone's name", edit: `/spec/timeZone "CET-1CEST"`, want: "spec.timeZone: Unsupported value"},
		"no agreement":        {reason: "everything follows from it", edit: "/spec/agreement", want: "spec.agreement: Required value"},
		"no joint entity":     {reason: "somebody runs the cluster", edit: "/spec/jointEntity", want: "spec.jointEntity: Required value"},
		"no defaults":         {reason: "a tenant that says nothing gets them", edit: "/spec/defaults", want: "spec.defaults: Required value"},
	}
	lines(rows, "displayName", "/spec/displayName", 120, "Comuni in cloud")
	lines(rows, "name", "/spec/jointEntity/name", 120, "Provincia di Varese")
	agreementRows(rows)
	budgetRows(rows)
	consortiumNetworkRows(rows)
	maps.Copy(rows, map[string]row{
		"form InHouseCompany":       {reason: "a form of a joint entity", edit: "/spec/jointEntity/form InHouseCompany"},
		"form PublicConsortium":     {reason: "a form of a joint entity", edit: "/spec/jointEntity/form PublicConsortium"},
		"form OfficeOfOneMember":    {reason: "a form of a joint entity", edit: "/spec/jointEntity/form OfficeOfOneMember"},
		"form Club":                 {reason: "no form of a joint entity", edit: "/spec/jointEntity/form Club", want: `spec.jointEntity.form: Unsupported value: "Club"`},
		"no form":                   {reason: "Planned is said, not assumed", edit: "/spec/jointEntity/form", want: "spec.jointEntity.form: Required value"},
		"no default quota":          {reason: "a workspace that asks for none gets it", edit: "/spec/defaults/workspace/quota", want: "spec.defaults.workspace.quota: Required value"},
		"no workspace defaults":     {reason: "a workspace that says nothing gets them", edit: "/spec/defaults/workspace", want: "spec.defaults.workspace: Required value"},
		"empty default quota":       {reason: "a workspace without quota cannot run anything", edit: "/spec/defaults/workspace/quota {}", want: "spec.defaults.workspace.quota in body should have at least 1 properties"},
		"default quota of one":      {reason: "the lower bound", edit: `/spec/defaults/workspace/quota {pods: "1"}`},
		"podSecurity Baseline":      {reason: "the weakest to be had", edit: "/spec/defaults/workspace/podSecurity Baseline"},
		"podSecurity Privileged":    {reason: "it would open the nodes", edit: "/spec/defaults/workspace/podSecurity Privileged", want: `spec.defaults.workspace.podSecurity: Unsupported value: "Privileged"`},
		"imagePullPolicy Always":    {reason: "every pod asks the registry", edit: "/spec/defaults/workspace/imagePullPolicy Always"},
		"imagePullPolicy Never":     {reason: "no pod would ever have an image", edit: "/spec/defaults/workspace/imagePullPolicy Never", want: `spec.defaults.workspace.imagePullPolicy: Unsupported value: "Never"`},
		"controls null":             {reason: "null is nothing", edit: "/spec/controls null", gets: "/spec/controls"},
		"controls of 16 labels":     {reason: "the upper bound", edit: put("/spec/controls", map[string]any{"matchLabels": labels(16)})},
		"controls of 17 labels":     {reason: "every map is bounded", edit: put("/spec/controls", map[string]any{"matchLabels": labels(17)}), want: "controls has at most 16 matchLabels and 16 matchExpressions"},
		"controls of 16 rules":      {reason: "the upper bound", edit: put("/spec/controls", map[string]any{"matchExpressions": expressions(16)})},
		"controls of 17 rules":      {reason: "every list is bounded", edit: put("/spec/controls", map[string]any{"matchExpressions": expressions(17)}), want: "controls has at most 16 matchLabels and 16 matchExpressions"},
		"controls In with nothing":  {reason: "the operator could not read it", edit: "/spec/controls/matchExpressions/0/values []", want: "an operator is In or NotIn with values"},
		"controls Exists in values": {reason: "the operator could not read it", edit: "/spec/controls/matchExpressions/0/operator Exists", want: "or Exists or DoesNotExist without"},
		"controls Exists":           {reason: "an operator", edit: "/spec/controls/matchExpressions/0 {key: a, operator: Exists}"},
		"controls Like":             {reason: "no operator", edit: "/spec/controls/matchExpressions/0/operator Like", want: "an operator is In or NotIn with values"},
	})
	floorRows(rows)
	quotaRows(rows, "/spec/defaults/workspace/quota", "spec.defaults.workspace.quota")
	statusRows(rows, "Collaborazione intercomunale TIC")
	maps.Copy(rows, map[string]row{
		"status: tenants 0":      {reason: "the lower bound", via: status, edit: "/status/tenants 0"},
		"status: tenants -1":     {reason: "a number of things", via: status, edit: "/status/tenants -1", want: "tenants in body should be greater than or equal to 0"},
		"status: tenants 100000": {reason: "the upper bound", via: status, edit: "/status/tenants 100000"},
		"status: tenants 100001": {reason: "every number is bounded", via: status, edit: "/status/tenants 100001", want: "tenants in body should be less than or equal to 100000"},
	})
	return rows
}

func agreementRows(rows map[string]row) {
	for name, r := range map[string]row{
		"kind Convention":        {reason: "a legal form", edit: "/spec/agreement/kind Convention"},
		"kind Memorandum":        {reason: "a legal form", edit: "/spec/agreement/kind Memorandum"},
		"kind ServiceMandate":    {reason: "a legal form", edit: "/spec/agreement/kind ServiceMandate"},
		"kind Handshake":         {reason: "no legal form", edit: "/spec/agreement/kind Handshake", want: `spec.agreement.kind: Unsupported value: "Handshake"`},
		"no agreement kind":      {reason: "the legal form", edit: "/spec/agreement/kind", want: "spec.agreement.kind: Required value"},
		"until the next day":     {reason: "until is after from", edit: `/spec/agreement/until "2024-04-05"`},
		"until the same day":     {reason: "until is after from", edit: `/spec/agreement/until "2024-04-04"`, want: "until is after from: from: 2024-04-04, until: 2034-04-03"},
		"no purposes":            {reason: "the law asks for them", edit: "/spec/agreement/purposes", want: "spec.agreement.purposes: Required value"},
		"purposes empty":         {reason: "the law asks for them", edit: "/spec/agreement/purposes []", want: "spec.agreement.purposes in body should have at least 1 items"},
		"32 purposes":            {reason: "the upper bound", edit: put("/spec/agreement/purposes", many(32, func(i int) string { return fmt.Sprint("scopo ", i) }))},
		"33 purposes":            {reason: "every list is bounded", edit: put("/spec/agreement/purposes", many(33, func(i int) string { return fmt.Sprint("scopo ", i) })), want: "spec.agreement.purposes: Too many: 33"},
		"consultation of lines":  {reason: "a long text has lines", edit: `/spec/agreement/consultation "prima\nseconda\n"`},
		"obligations of lines":   {reason: "a long text has lines", edit: `/spec/agreement/obligations "prima\nseconda\n"`},
		"no consultation":        {reason: "the law asks for it", edit: "/spec/agreement/consultation", want: "spec.agreement.consultation: Required value"},
		"consultation empty":     {reason: "the law asks for it", edit: `/spec/agreement/consultation ""`, want: "spec.agreement.consultation in body should be at least 1 chars long"},
		"consultation of 500":    {reason: "the upper bound", edit: put("/spec/agreement/consultation", long(500))},
		"consultation of 501":    {reason: "every text is bounded", edit: put("/spec/agreement/consultation", long(501)), want: "spec.agreement.consultation: Too long"},
		"consultation turned":    {reason: "it is printed", edit: `/spec/agreement/consultation "a\u202eb"`, want: "consultation is text in NFC"},
		"no obligations":         {reason: "the law asks for them", edit: "/spec/agreement/obligations", want: "spec.agreement.obligations: Required value"},
		"obligations empty":      {reason: "the law asks for them", edit: `/spec/agreement/obligations ""`, want: "spec.agreement.obligations in body should be at least 1 chars long"},
		"obligations of 1000":    {reason: "the upper bound", edit: put("/spec/agreement/obligations", long(1000))},
		"obligations of 1001":    {reason: "every text is bounded", edit: put("/spec/agreement/obligations", long(1001)), want: "spec.agreement.obligations: Too long"},
		"obligations with bell":  {reason: "it is printed", edit: `/spec/agreement/obligations "a\u0007b"`, want: "obligations is text in NFC"},
		"no noticeMonths":        {reason: "leaving needs notice", edit: "/spec/agreement/noticeMonths", want: "spec.agreement.noticeMonths: Required value"},
		"noticeMonths 0":         {reason: "the lower bound", edit: "/spec/agreement/noticeMonths 0"},
		"noticeMonths -1":        {reason: "a number of months", edit: "/spec/agreement/noticeMonths -1", want: "spec.agreement.noticeMonths in body should be greater than or equal to 0"},
		"noticeMonths 120":       {reason: "the upper bound", edit: "/spec/agreement/noticeMonths 120"},
		"noticeMonths 121":       {reason: "every number is bounded", edit: "/spec/agreement/noticeMonths 121", want: "spec.agreement.noticeMonths in body should be less than or equal to 120"},
		"noticeMonths as text":   {reason: "a number is no text", edit: `/spec/agreement/noticeMonths "12"`, want: `spec.agreement.noticeMonths in body must be of type integer: "string"`},
		"noticeMonths half":      {reason: "months are whole", edit: "/spec/agreement/noticeMonths 1.5", want: "spec.agreement.noticeMonths in body must be of type int32"},
		"expulsionClause":        {reason: "an answer to the law's question", edit: "/spec/agreement/expulsionClause true"},
		"expulsionClause as yes": {reason: "text is no answer", edit: `/spec/agreement/expulsionClause "yes"`, want: `must be of type boolean: "string"`},
	} {
		rows["agreement: "+name] = r
	}
	lines(rows, "a purpose", "/spec/agreement/purposes/0", 500, "gestione congiunta di servizi")
	dates(rows, "/spec/agreement/signedOn", "spec.agreement.signedOn", true)
	dates(rows, "/spec/agreement/from", "spec.agreement.from", true)
	dates(rows, "/spec/agreement/until", "spec.agreement.until", false)
}

func budgetRows(rows map[string]row) {
	budget := func(i int) map[string]any {
		return map[string]any{"name": fmt.Sprint("b", i), "credit": "1.00", "tenant": "lugano", "from": "2024-01-01",
			"approvals": []map[string]any{{"organ": "Council", "state": "Approved", "act": "seduta", "date": "2024-01-01"}}}
	}
	approval := "{state: Approved, act: seduta, date: \"2024-01-01\", organ: "
	for name, r := range map[string]row{
		"64":                  {reason: "the upper bound", edit: put("/spec/budgets", many(64, budget))},
		"65":                  {reason: "every list is bounded", edit: put("/spec/budgets", many(65, budget)), want: "spec.budgets: Too many: 65"},
		"two of one name":     {reason: "charges name a budget", edit: put("/spec/budgets", []any{budget(1), budget(1)}), want: "spec.budgets[1]: Duplicate value"},
		"no name":             {reason: "charges name a budget", edit: "/spec/budgets/0/name", want: "spec.budgets[0].name: Required value"},
		"name empty":          {reason: "charges name a budget", edit: `/spec/budgets/0/name ""`, want: "spec.budgets[0].name in body should be at least 1 chars long"},
		"name of 63":          {reason: "the upper bound", edit: put("/spec/budgets/0/name", long(63))},
		"name of 64":          {reason: "every text is bounded", edit: put("/spec/budgets/0/name", long(64)), want: "spec.budgets[0].name: Too long"},
		"name Bilancio":       {reason: "a label is in lower case", edit: `/spec/budgets/0/name "Bilancio"`, want: "name is a DNS label of at most 63 characters, for example rinnovamento-2020-2025"},
		"no credit":           {reason: "a budget is money", edit: "/spec/budgets/0/credit", want: "spec.budgets[0].credit: Required value"},
		"credit 0.00":         {reason: "the lower bound", edit: `/spec/budgets/0/credit "0.00"`},
		"credit of 12 digits": {reason: "the upper bound", edit: `/spec/budgets/0/credit "999999999999.99"`},
		"credit of 13 digits": {reason: "money is exact in 64 bits", edit: `/spec/budgets/0/credit "1000000000000.00"`, want: `credit is at most 12 digits, a point and two decimals, for example "15500000.00"`},
		"credit of 17 chars":  {reason: "every text is bounded", edit: `/spec/budgets/0/credit "10000000000000.00"`, want: "spec.budgets[0].credit: Too long"},
		"credit negative":     {reason: "a council votes no debts", edit: `/spec/budgets/0/credit "-1.00"`, want: "credit is at most 12 digits"},
		"credit of francs":    {reason: "decimals are said", edit: `/spec/budgets/0/credit "15500000"`, want: "credit is at most 12 digits"},
		"credit with a comma": {reason: "the point separates", edit: `/spec/budgets/0/credit "15500000,00"`, want: "credit is at most 12 digits"},
		"credit of 3 places":  {reason: "cents are the smallest", edit: `/spec/budgets/0/credit "1.000"`, want: "credit is at most 12 digits"},
		"credit 007.00":       {reason: "one amount has one form", edit: `/spec/budgets/0/credit "007.00"`, want: "credit is at most 12 digits"},
		"credit as number":    {reason: "a float is not exact", edit: "/spec/budgets/0/credit 15500000.00", want: "spec.budgets[0].credit in body must be of type string"},
		"until the next day":  {reason: "until is after from", edit: `/spec/budgets/0/until "2020-06-19"`},
		"until the same day":  {reason: "until is after from", edit: `/spec/budgets/0/until "2020-06-18"`, want: "until is after from: from: 2020-06-18, until: 2025-12-31"},
		"no approvals":        {reason: "nothing is spent without", edit: "/spec/budgets/0/approvals", want: "spec.budgets[0].approvals: Required value"},
		"approvals empty":     {reason: "nothing is spent without", edit: "/spec/budgets/0/approvals []", want: "spec.budgets[0].approvals in body should have at least 1 items"},
		"one approval":        {reason: "the lower bound", edit: "/spec/budgets/0/approvals/1"},
		"three approvals":     {reason: "the upper bound", edit: edits("/spec/budgets/0/approvals/- " + approval + "Assembly}")},
		"four approvals":      {reason: "there are three organs", edit: edits("/spec/budgets/0/approvals/- " + approval + "Assembly}\n/spec/budgets/0/approvals/- " + approval + "Assembly}"), want: "spec.budgets[0].approvals: Too many: 4"},
		"one organ twice":     {reason: "an organ decides once", edit: edits("/spec/budgets/0/approvals/- " + approval + "Council}"), want: "spec.budgets[0].approvals[2]: Duplicate value"},
		"organ Mayor":         {reason: "no organ of a body", edit: "/spec/budgets/0/approvals/0/organ Mayor", want: `approvals[0].organ: Unsupported value: "Mayor"`},
		"no organ":            {reason: "somebody decides", edit: "/spec/budgets/0/approvals/0/organ", want: "spec.budgets[0].approvals[0].organ: Required value"},
		"state Rejected":      {reason: "a state of an approval", edit: "/spec/budgets/0/approvals/0/state Rejected"},
		"state Perhaps":       {reason: "no state of an approval", edit: "/spec/budgets/0/approvals/0/state Perhaps", want: `approvals[0].state: Unsupported value: "Perhaps"`},
		"no state":            {reason: "how far it got", edit: "/spec/budgets/0/approvals/0/state", want: "spec.budgets[0].approvals[0].state: Required value"},
	} {
		rows["budgets: "+name] = r
	}
	tenantNames(rows, "/spec/budgets/0/tenant", "spec.budgets[0].tenant", true)
	lines(rows, "act", "/spec/budgets/0/approvals/0/act", 200, "seduta del Municipio")
	dates(rows, "/spec/budgets/0/approvals/0/date", "spec.budgets[0].approvals[0].date", true)
	dates(rows, "/spec/budgets/0/from", "spec.budgets[0].from", true)
	dates(rows, "/spec/budgets/0/until", "spec.budgets[0].until", false)
}

func consortiumNetworkRows(rows map[string]row) {
	for _, field := range []string{"internetIngress", "consortiumIngress"} {
		at, path := "/spec/network/"+field, "spec.network."+field
		rows[field+" of 63"] = row{reason: "the upper bound", edit: put(at, long(63))}
		rows[field+" of 64"] = row{reason: "a namespace is a label", edit: put(at, long(64)), want: path + ": Too long"}
		rows[field+" empty"] = row{reason: "no namespace is not a namespace", edit: put(at, ""), want: path + " in body should be at least 1 chars long"}
		rows[field+" Ingress_1"] = row{reason: "a namespace is a label", edit: put(at, "Ingress_1"), want: field + " is a DNS label of at most 63 characters, for example ingress-"}
	}
	rows["network null"] = row{reason: "null is left to the default", edit: "/spec/network null", gets: "/spec/network/internetIngress ingress-internet"}
	rows["protectedCIDRs of one"] = row{reason: "the lower bound", edit: "/spec/network/protectedCIDRs [10.0.0.0/8]"}
	rows["protectedCIDRs empty"] = row{reason: "the cluster has addresses of its own", edit: "/spec/network/protectedCIDRs []", want: "spec.network.protectedCIDRs in body should have at least 1 items"}
	rows["protectedCIDRs of 32"] = row{reason: "the upper bound", edit: put("/spec/network/protectedCIDRs", many(32, func(i int) string { return fmt.Sprintf("10.%d.0.0/16", i) }))}
	rows["protectedCIDRs of 33"] = row{reason: "every list is bounded", edit: put("/spec/network/protectedCIDRs", many(33, func(i int) string { return fmt.Sprintf("10.%d.0.0/16", i) })), want: "spec.network.protectedCIDRs: Too many: 33"}
	rows["protectedCIDRs twice"] = row{reason: "a set", edit: "/spec/network/protectedCIDRs [10.0.0.0/8, 10.0.0.0/8]", want: "spec.network.protectedCIDRs[1]: Duplicate value"}
	cidrs(rows, "/spec/network/protectedCIDRs/0", "spec.network.protectedCIDRs[0]")
}

func labels(n int) map[string]string {
	out := map[string]string{}
	for i := range n {
		out[fmt.Sprint("k", i)] = "v"
	}
	return out
}

func expressions(n int) []map[string]any {
	return many(n, func(i int) map[string]any { return map[string]any{"key": fmt.Sprint("k", i), "operator": "Exists"} })
}

func floorRows(rows map[string]row) {
	const first, path = "/spec/backupFloors/0", "spec.backupFloors[0]"
	floors := func(classes ...string) edits {
		var all []map[string]string
		for _, c := range classes {
			all = append(all, map[string]string{"dataClass": c})
		}
		return put("/spec/backupFloors", all)
	}
	maps.Copy(rows, map[string]row{
		"a floor for each class":      {reason: "the upper bound", edit: floors("Ordinary", "Critical", "Strategic")},
		"two floors for a class":      {reason: "a map", edit: floors("Critical", "Critical"), want: "spec.backupFloors[1]: Duplicate value"},
		"four floors":                 {reason: "every list is bounded", edit: floors("Ordinary", "Critical", "Strategic", "Critical"), want: "spec.backupFloors: Too many: 4: must have at most 3 items"},
		"a floor for no class":        {reason: "of what", edit: first + "/dataClass", want: path + ".dataClass: Required value"},
		"a floor for a class unknown": {reason: "nobody has it", edit: first + "/dataClass Secret", want: path + `.dataClass: Unsupported value: "Secret"`},
		"a floor of some days":        {reason: "the last one is kept anyway", edit: first + "/retention {daily: 7}", gets: first + "/retention/last 1"},
	})
	for field, most := range map[string]int{"daily": 366, "weekly": 260, "monthly": 240, "yearly": 50} {
		numbers(rows, first+"/retention/"+field, path+".retention."+field, 0, most)
	}
	numbers(rows, first+"/retention/last", path+".retention.last", 1, 365)
	numbers(rows, first+"/recoveryPointHours", path+".recoveryPointHours", 1, 8784)
	numbers(rows, first+"/drillEveryDays", path+".drillEveryDays", 1, 366)
	numbers(rows, first+"/copies", path+".copies", 0, 3)
	numbers(rows, first+"/objectLockDays", path+".objectLockDays", 1, 3660)
}
