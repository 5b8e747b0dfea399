package v1alpha1_test

import "fmt"

func workspaceRows() map[string]row {
	peer := func(i int) map[string]string { return map[string]string{"workspace": fmt.Sprint("w", i)} }
	rows := map[string]row{
		"the valid one": {reason: "it says everything that can be said"},
		"the shortest one": {reason: "what works without more", edit: "/spec {environment: Production, dataClass: Ordinary, personalData: false}",
			gets: `/spec {"dataClass": "Ordinary", "deletionPolicy": "Retain", "environment": "Production", "network": {"exposure": "None"}, "personalData": false}`},
		"unknown field":             {reason: "a typing error must not pass", edit: "/spec/environments Test", want: `unknown field "spec.environments"`},
		"a tenant's name":           {reason: "the tenant is the namespace, never a field", edit: "/spec/tenant lugano", want: `unknown field "spec.tenant"`},
		"no spec":                   {reason: "nothing is not a request", edit: "/spec", want: "spec: Required value"},
		"environment Production":    {reason: "an environment", edit: "/spec/environment Production\n/spec/expiresAt"},
		"environment Lab":           {reason: "an environment", edit: "/spec/environment Lab\n/spec/personalData false"},
		"environment Staging":       {reason: "no environment", edit: "/spec/environment Staging", want: `spec.environment: Unsupported value: "Staging"`},
		"no environment":            {reason: "it decides what else is asked", edit: "/spec/environment", want: "spec.environment: Required value"},
		"lab without end":           {reason: "a lab expires", edit: "/spec/environment Lab\n/spec/personalData false\n/spec/expiresAt", want: `a Lab has an end, for example expiresAt: "2027-06-30T00:00:00Z"`},
		"lab with personal data":    {reason: "a lab holds none", edit: "/spec/environment Lab", want: "a Lab holds no personal data: set personalData: false, or environment: Test"},
		"production that expires":   {reason: "citizens would stand before a closed door", edit: "/spec/environment Production", want: "a Production workspace does not expire: remove expiresAt, or set environment: Test"},
		"test without end":          {reason: "a test may expire", edit: "/spec/expiresAt"},
		"environment changes":       {reason: "a test becomes production", via: update, edit: "/spec/environment Production\n/spec/expiresAt"},
		"class Ordinary":            {reason: "a data class", edit: "/spec/dataClass Ordinary"},
		"class Strategic":           {reason: "a data class", edit: "/spec/dataClass Strategic"},
		"class Secret":              {reason: "no class of the law", edit: "/spec/dataClass Secret", want: `spec.dataClass: Unsupported value: "Secret"`},
		"no class":                  {reason: "the law asks for it; it is never defaulted", edit: "/spec/dataClass", want: "spec.dataClass: Required value"},
		"class null":                {reason: "the law asks for it; it is never defaulted", edit: "/spec/dataClass null", want: "spec.dataClass: Required value"},
		"no personalData":           {reason: "the law asks for it; it is never defaulted", edit: "/spec/personalData", want: "spec.personalData: Required value"},
		"personalData null":         {reason: "the law asks for it; it is never defaulted", edit: "/spec/personalData null", want: "spec.personalData: Required value"},
		"personalData as text":      {reason: "text is no answer", edit: `/spec/personalData "true"`, want: `spec.personalData in body must be of type boolean: "string"`},
		"displayName empty":         {reason: "the object's name is then shown", edit: `/spec/displayName ""`},
		"access null":               {reason: "null is nothing", edit: "/spec/access null"},
		"network null":              {reason: "null is left to the default", edit: "/spec/network null", gets: "/spec/network/exposure None"},
		"storage null":              {reason: "null is nothing", edit: "/spec/storage null"},
		"policy Delete":             {reason: "a deletion policy", edit: "/spec/deletionPolicy Delete"},
		"policy Orphan":             {reason: "no deletion policy", edit: "/spec/deletionPolicy Orphan", want: `spec.deletionPolicy: Unsupported value: "Orphan"`},
		"policy null":               {reason: "null is left to the default", edit: "/spec/deletionPolicy null", gets: "/spec/deletionPolicy Retain"},
		"exposure Consortium":       {reason: "an exposure", edit: "/spec/network/exposure Consortium"},
		"exposure None":             {reason: "an exposure", edit: "/spec/network/exposure None\n/spec/network/hosts"},
		"exposure World":            {reason: "no exposure", edit: "/spec/network/exposure World", want: `spec.network.exposure: Unsupported value: "World"`},
		"hosts that nobody reaches": {reason: "no ingress controller would serve them", edit: "/spec/network/exposure None", want: "hosts are served through an ingress controller: set exposure: Internet or exposure: Consortium"},
		"hosts without exposure":    {reason: "the default is None", edit: "/spec/network/exposure", want: "hosts are served through an ingress controller"},
		"no hosts":                  {reason: "hosts may come later", edit: "/spec/network/exposure None\n/spec/network/hosts []"},
		"hosts of 32":               {reason: "the upper bound", edit: put("/spec/network/hosts", many(32, host))},
		"hosts of 33":               {reason: "every list is bounded", edit: put("/spec/network/hosts", many(33, host)), want: "spec.network.hosts: Too many: 33"},
		"hosts twice":               {reason: "a set", edit: "/spec/network/hosts [a.example, a.example]", want: "spec.network.hosts[1]: Duplicate value"},
		"allowFrom of 64":           {reason: "the upper bound", edit: put("/spec/network/allowFrom", many(64, peer))},
		"allowFrom of 65":           {reason: "every list is bounded", edit: put("/spec/network/allowFrom", many(65, peer)), want: "spec.network.allowFrom: Too many: 65"},
		"connectTo of 64":           {reason: "the upper bound", edit: put("/spec/network/connectTo", many(64, peer))},
		"connectTo of 65":           {reason: "every list is bounded", edit: put("/spec/network/connectTo", many(65, peer)), want: "spec.network.connectTo: Too many: 65"},
		"a tenant as peer":          {reason: "one workspace, never all of a tenant", edit: "/spec/network/allowFrom [{tenant: lugano}]", want: "spec.network.allowFrom[0].workspace: Required value"},
		"a peer to connect to":      {reason: "one workspace, never all of a tenant", edit: "/spec/network/connectTo [{tenant: lugano}]", want: "spec.network.connectTo[0].workspace: Required value"},
		"a namespace as peer":       {reason: "no field names a namespace", edit: "/spec/network/allowFrom/0/namespace kube-system", want: `unknown field "spec.network.allowFrom[0].namespace"`},
	}
	workspaceNameRows(rows)
	expiryRows(rows)
	accessRows(rows)
	egressRows(rows)
	volumeRows(rows)
	lines(rows, "displayName", "/spec/displayName", 120, "Sportello online")
	quotaRows(rows, "/spec/quota", "spec.quota")
	rows["quota null"] = row{reason: "null is nothing", edit: "/spec/quota null"}
	rows["volumes of no size"] = row{reason: "null is nothing", edit: "/spec/storage/volumes/0/size null", want: "spec.storage.volumes[0].size: Required value"}
	rows["quota empty"] = row{reason: "the consortium's defaults complete it", edit: "/spec/quota {}"}
	tenantNames(rows, "/spec/network/allowFrom/0/tenant", "spec.network.allowFrom[0].tenant", false)
	tenantNames(rows, "/spec/network/connectTo/0/tenant", "spec.network.connectTo[0].tenant", false)
	workspaceNames(rows, creation, "/spec/network/allowFrom/0/workspace", "spec.network.allowFrom[0].workspace")
	workspaceNames(rows, creation, "/spec/network/connectTo/0/workspace", "spec.network.connectTo[0].workspace")
	hostnames(rows, "/spec/network/hosts/0", "spec.network.hosts[0]", "a host is a DNS name of at least two labels in lower case, without a wildcard or a trailing dot, for example id.lugano.example")
	statusRows(rows, "Sportello online")
	workspaceStatusRows(rows)
	return rows
}

func workspaceNameRows(rows map[string]row) {
	label := "metadata.name is a DNS label of at most 31 characters without --, for example sportello: with the tenant's name it makes the namespace"
	for name, want := range map[string]string{
		long(31): "", long(32): label, "w": "", "1": "", "a-b-c": "", "a--b": label, "a.b": label, "kube-x": "", "default": "",
		"Sportello": "metadata.name: Invalid value", "a_b": "metadata.name: Invalid value",
	} {
		rows["name "+name] = row{reason: "with the tenant's name it makes the namespace", edit: put("/metadata/name", name), want: want}
	}
}

func expiryRows(rows map[string]row) {
	form := "spec.expiresAt in body should match '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$'"
	since := `expiresAt is an instant since 2000, for example "2027-06-30T00:00:00Z"`
	instant := "spec.expiresAt in body must be of type date-time"
	for text, want := range map[string]string{
		"2027-06-30T00:00:00Z": "", "2027-12-31T23:59:59Z": "", "2028-02-29T00:00:00Z": "", "2000-01-01T00:00:00Z": "", "1999-12-31T23:59:59Z": since, "0000-01-01T00:00:00Z": since, "9999-12-31T23:59:59Z": "",
		"2027-06-30t00:00:00Z": form, "2027-06-30T00:00:00z": form, "2027-06-30T00:00:00.5Z": "spec.expiresAt: Too long", "2027-06-30T00:00.5Z": form,
		"2027-06-30T00:00:00+00:00": "spec.expiresAt: Too long", "2027-06-30": form, "2027-06-30 00:00:00Z": form, "2027-06-30T00:00:00x": form,
		"2027-06-30T23:59:60Z": instant, "2027-06-30T24:00:00Z": instant, "2027-06-31T00:00:00Z": instant, "2027-02-29T00:00:00Z": instant, "2027-13-01T00:00:00Z": instant,
		"": form, "never": form,
	} {
		rows["expiresAt "+text] = row{reason: "one instant has one form, which Go can read", edit: put("/spec/expiresAt", text), want: want}
	}
	rows["expiresAt as a list"] = row{reason: "Go cannot read it, and one such object stops the List of its kind", edit: "/spec/expiresAt []", want: "spec.expiresAt: Invalid value"}
	rows["expiresAt null"] = row{reason: "null is nothing", edit: "/spec/expiresAt null"}
	rows["expiresAt as a number"] = row{reason: "text is text", edit: "/spec/expiresAt 1814313600", want: "spec.expiresAt in body must be of type date-time"}
}

func accessRows(rows map[string]row) {
	group := func(i int) map[string]string {
		return map[string]string{"role": "View", "kind": "Group", "name": fmt.Sprint("g", i)}
	}
	subjects(rows, "/spec/access/0", "spec.access[0]")
	for name, r := range map[string]row{
		"of 64":                {reason: "the upper bound", edit: put("/spec/access", many(64, group))},
		"of 65":                {reason: "every list is bounded", edit: put("/spec/access", many(65, group)), want: "spec.access: Too many: 65"},
		"twice":                {reason: "one is enough", edit: put("/spec/access", []any{group(1), group(1)}), want: "spec.access[1]: Duplicate value"},
		"of two roles":         {reason: "rights add up", edit: "/spec/access [{role: View, kind: User, name: a}, {role: Edit, kind: User, name: a}]"},
		"of kinds of one name": {reason: "a group is no user", edit: "/spec/access [{role: View, kind: User, name: a}, {role: View, kind: Group, name: a}]"},
		"of names":             {reason: "they differ", edit: "/spec/access [{role: View, kind: User, name: a}, {role: View, kind: User, name: b}]"},
		"without a role":       {reason: "rights are said", edit: "/spec/access/0/role", want: "spec.access[0].role: Required value"},
		"as Owner":             {reason: "no role", edit: "/spec/access/0/role Owner", want: `spec.access[0].role: Unsupported value: "Owner"`},
	} {
		rows["access "+name] = r
	}
}

func egressRows(rows map[string]row) {
	at := "/spec/network/egress/0"
	one := func(i int) map[string]any {
		return map[string]any{"cidr": fmt.Sprintf("203.0.%d.0/24", i), "ports": []int{443}}
	}
	for name, r := range map[string]row{
		"of 32":             {reason: "the upper bound", edit: put("/spec/network/egress", many(32, one))},
		"of 33":             {reason: "every list is bounded", edit: put("/spec/network/egress", many(33, one)), want: "spec.network.egress: Too many: 33"},
		"no cidr":           {reason: "a range is said", edit: edits(at + "/cidr"), want: "spec.network.egress[0].cidr: Required value"},
		"no ports":          {reason: "ports are said", edit: edits(at + "/ports"), want: "spec.network.egress[0].ports: Required value"},
		"ports of none":     {reason: "nothing would be opened, or all", edit: edits(at + "/ports []"), want: "spec.network.egress[0].ports in body should have at least 1 items"},
		"port 0":            {reason: "no port", edit: edits(at + "/ports [0]"), want: "spec.network.egress[0].ports[0] in body should be greater than or equal to 1"},
		"port 1":            {reason: "the lower bound", edit: edits(at + "/ports [1]")},
		"port 65535":        {reason: "the upper bound", edit: edits(at + "/ports [65535]")},
		"port 65536":        {reason: "no port", edit: edits(at + "/ports [65536]"), want: "spec.network.egress[0].ports[0] in body should be less than or equal to 65535"},
		"port -1":           {reason: "no port", edit: edits(at + "/ports [-1]"), want: "should be greater than or equal to 1"},
		"port of a name":    {reason: "names are of services", edit: edits(at + "/ports [https]"), want: `spec.network.egress[0].ports[0] in body must be of type integer: "string"`},
		"port as text":      {reason: "a number is no text", edit: edits(at + `/ports ["443"]`), want: `must be of type integer: "string"`},
		"ports twice":       {reason: "a set", edit: edits(at + "/ports [443, 443]"), want: "spec.network.egress[0].ports[1]: Duplicate value"},
		"ports of 16":       {reason: "the upper bound", edit: put(at+"/ports", many(16, func(i int) int { return i + 1 }))},
		"ports of 17":       {reason: "every list is bounded", edit: put(at+"/ports", many(17, func(i int) int { return i + 1 })), want: "spec.network.egress[0].ports: Too many: 17"},
		"no protocol":       {reason: "most speak it", edit: edits(at + "/protocol"), gets: edits(at + "/protocol TCP")},
		"protocol UDP":      {reason: "a protocol", edit: edits(at + "/protocol UDP")},
		"protocol SCTP":     {reason: "no protocol of comuni", edit: edits(at + "/protocol SCTP"), want: `spec.network.egress[0].protocol: Unsupported value: "SCTP"`},
		"protocol in lower": {reason: "no protocol", edit: edits(at + "/protocol tcp"), want: `spec.network.egress[0].protocol: Unsupported value: "tcp"`},
	} {
		rows["egress "+name] = r
	}
	cidrs(rows, at+"/cidr", "spec.network.egress[0].cidr")
}

func volumeRows(rows map[string]row) {
	volume := func(i int) map[string]string { return map[string]string{"name": fmt.Sprint("v", i), "size": "1Gi"} }
	class := "spec.storage.volumes[%d]: Invalid value: class cannot change: add a volume of the other class and move the data"
	kept := "a volume and its data go only under deletionPolicy: Delete; set it, or keep the volume in storage.volumes"
	size := "size is between 1Mi and 1Pi, for example 100Gi"
	const one = "/spec/storage/volumes/1\n"
	for name, r := range map[string]row{
		"of none":              {reason: "volumes may come later", edit: "/spec/storage {}"},
		"of 32":                {reason: "the upper bound", edit: put("/spec/storage/volumes", many(32, volume))},
		"of 33":                {reason: "every list is bounded", edit: put("/spec/storage/volumes", many(33, volume)), want: "spec.storage.volumes: Too many: 33"},
		"twice":                {reason: "a claim has one name", edit: put("/spec/storage/volumes", []any{volume(1), volume(1)}), want: "spec.storage.volumes[1]: Duplicate value"},
		"without name":         {reason: "a claim has a name", edit: "/spec/storage/volumes/0/name", want: "spec.storage.volumes[0].name: Required value"},
		"without size":         {reason: "quota is counted by it", edit: "/spec/storage/volumes/0/size", want: "spec.storage.volumes[0].size: Required value"},
		"of 1Mi":               {reason: "the lower bound", edit: "/spec/storage/volumes/0/size 1Mi"},
		"of 1023Ki":            {reason: "nothing fits in it", edit: "/spec/storage/volumes/0/size 1023Ki", want: size},
		"of 100 bytes":         {reason: "a common slip", edit: `/spec/storage/volumes/0/size "100"`, want: size},
		"of 0":                 {reason: "none is no volume", edit: `/spec/storage/volumes/0/size "0"`, want: size},
		"of 1025Ti":            {reason: "more than any cluster has", edit: "/spec/storage/volumes/0/size 1025Ti", want: size},
		"that grows":           {reason: "it can", via: update, edit: "/spec/storage/volumes/0/size 101Gi"},
		"of other words":       {reason: "amounts are compared, not texts", via: update, edit: "/spec/storage/volumes/0/size 102400Mi"},
		"that shrinks":         {reason: "no file system can", via: update, edit: "/spec/storage/volumes/0/size 102399Mi", want: "spec.storage.volumes[0]: Invalid value: size cannot shrink: add a smaller volume and move the data"},
		"that shrinks by unit": {reason: "no file system can", via: update, edit: "/spec/storage/volumes/0/size 100G", want: "size cannot shrink"},
		"of another class":     {reason: "no storage can", via: update, edit: "/spec/storage/volumes/0/class standard", want: fmt.Sprintf(class, 0)},
		"whose class goes":     {reason: "the default may be another", via: update, edit: "/spec/storage/volumes/0/class", want: fmt.Sprintf(class, 0)},
		"whose class comes":    {reason: "the default may be another", via: update, edit: "/spec/storage/volumes/1/class encrypted", want: fmt.Sprintf(class, 1)},
		"in another order":     {reason: "names are the keys", via: update, edit: "/spec/storage/volumes [{name: indice, size: 10Gi}, {name: documenti, size: 100Gi, class: encrypted}]"},
		"one more":             {reason: "a volume may come later", via: update, edit: "/spec/storage/volumes/- {name: altro, size: 1Gi}"},
		"one less":             {reason: "its data would go", via: update, edit: one, want: kept},
		"none any more":        {reason: "their data would go", via: update, edit: "/spec/storage/volumes", want: kept},
		"no storage any more":  {reason: "their data would go", via: update, edit: "/spec/storage", want: kept},
		"renamed":              {reason: "its data would go", via: update, edit: "/spec/storage/volumes/1/name neu", want: kept},
		"one less on purpose":  {reason: "Delete says so", via: update, edit: one + "/spec/deletionPolicy Delete"},
		"one less when set":    {reason: "Delete says so", via: update, from: "/spec/deletionPolicy Delete", edit: one},
		"none on purpose":      {reason: "Delete says so", via: update, from: "/spec/deletionPolicy Delete", edit: "/spec/storage"},
		"one less too late":    {reason: "Retain keeps what is there", via: update, from: "/spec/deletionPolicy Delete", edit: one + "/spec/deletionPolicy Retain", want: kept},
		"shrunk under Delete":  {reason: "no file system can", via: update, from: "/spec/deletionPolicy Delete", edit: "/spec/storage/volumes/0/size 1Gi", want: "size cannot shrink"},
		"of nothing else":      {reason: "what has no volumes loses none", via: update, from: "/spec/storage", edit: "/spec/displayName Altro"},
		"first ones":           {reason: "volumes may come later", via: update, from: "/spec/storage {}", edit: "/spec/storage/volumes [{name: a, size: 1Gi}]"},
	} {
		rows["volumes "+name] = r
	}
	labelsAt(rows, "/spec/storage/volumes/0/name", "spec.storage.volumes[0].name", "name is a DNS label of at most 63 characters, for example documenti")
	labelsAt(rows, "/spec/storage/volumes/0/class", "spec.storage.volumes[0].class", "class is a DNS label of at most 63 characters, for example encrypted")
	amounts(rows, "/spec/storage/volumes/0/size", "spec.storage.volumes[0].size", "spec.storage.volumes[0].size")
}

func workspaceStatusRows(rows map[string]row) {
	amount := map[string]string{}
	for i := range 25 {
		amount[fmt.Sprintf("c%d.storageclass.storage.k8s.io/requests.storage", i)] = "1Gi"
	}
	of25 := put("/status/quota", amount)
	delete(amount, "c0.storageclass.storage.k8s.io/requests.storage")
	for name, r := range map[string]row{
		"namespace of 63":         {reason: "the upper bound", edit: put("/status/namespace", long(63))},
		"namespace of 64":         {reason: "a namespace is a label", edit: put("/status/namespace", long(64)), want: "status.namespace: Too long"},
		"allocationRevision 0":    {reason: "before the first", edit: "/status/allocationRevision 0"},
		"allocationRevision -1":   {reason: "decisions are counted from 1", edit: "/status/allocationRevision -1", want: "allocationRevision in body should be greater than or equal to 0"},
		"allocationRevision most": {reason: "the upper bound", edit: "/status/allocationRevision 9007199254740991"},
		"allocationRevision 2^53": {reason: "JSON's integers end there", edit: "/status/allocationRevision 9007199254740992", want: "allocationRevision in body should be less than or equal to 9"},
		"quota of 24":             {reason: "the upper bound", edit: put("/status/quota", amount)},
		"quota of 25":             {reason: "every map is bounded", edit: of25, want: "status.quota: Too many: 25"},
		"quota of no amount":      {reason: "Go cannot read it, and one such object stops the List of its kind", edit: "/status/quota/pods 1e1.5", want: "each amount is a Kubernetes quantity, for example 4Gi"},
		"quota as a number":       {reason: "quantities may be", edit: "/status/quota/pods 20"},
	} {
		r.via = status
		rows["status: "+name] = r
	}
}
