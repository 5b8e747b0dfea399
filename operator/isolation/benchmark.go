package isolation

// Check is one check of the multi-tenancy benchmark of the Kubernetes working group (github.com/kubernetes-retired/multi-tenancy).
type Check struct {
	// Number counts the checks as docs/isolation.md does: 1 to 18 are those that upstream implemented, 19 to 24 those that it never did.
	Number int
	// Name is the value of the label check. It never changes.
	Name string
	// Upstream is the id that upstream gave the check; of those that it never implemented, the issue that asks for it.
	Upstream string

	judge judge // nil: rights decide, and the operator may not read those of the cluster
}

// Live tells whether the check is judged at every scrape, and not in test/security alone.
func (c Check) Live() bool { return c.judge != nil }

// The Pod Security Standards as the label of a namespace names them.
const (
	baseline   = "baseline"
	restricted = "restricted"
)

// Benchmark returns all checks, by number.
func Benchmark() []Check {
	strict, decent := enforces(restricted), enforces(baseline, restricted)
	return []Check{
		{1, "cluster-resources", "MTB-PL1-CC-CPI-1", nil},
		{2, "multitenant-resources", "MTB-PL1-BC-CPI-2", guarded("broletto-guardrails", "broletto-namespaces", "broletto-claims")},
		{3, "other-tenant-resources", "MTB-PL1-CC-TI-2", nil},
		{4, "add-capabilities", "MTB-PL1-BC-CPI-3", strict},
		{5, "image-pull-always", "MTB-PL1-CC-DI-1", both(guarded("broletto-default-pods"), everywhere(pullsAlways))},
		{6, "run-as-non-root", "MTB-PL1-BC-CPI-4", strict},
		{7, "privileged-containers", "MTB-PL1-BC-CPI-5", decent},
		{8, "privilege-escalation", "MTB-PL1-BC-CPI-6", strict},
		{9, "resource-quotas", "MTB-PL1-CC-FNS-1", everywhere(sharesBounded)},
		{10, "object-limits", "MTB-PL1-CC-FNS-2", everywhere(objectsBounded)},
		{11, "host-path", "MTB-PL1-BC-HI-1", decent},
		{12, "node-ports", "MTB-PL1-BC-HI-1", both(guarded("broletto-services"), everywhere(noNodePorts))}, // upstream gives two checks this id
		{13, "host-network", "MTB-PL1-BC-HI-3", decent},
		{14, "host-pid", "MTB-PL1-BC-HI-4", decent},
		{15, "host-ipc", "MTB-PL1-BC-HI-5", decent},
		{16, "quota-modification", "MTB-PL1-CC-TI-1", both(guarded("broletto-guardrails"), everywhere(hasQuota))},
		{17, "network-policies", "MTB-PL2-BC-OPS-4", nil},
		{18, "role-escalation", "MTB-PL2-CC-TI-1", nil},
		{19, "claims-for-storage", "#1198", both(strict, guarded("broletto-workloads"))},
		{20, "reclaim-delete", "#1199", both(guarded("broletto-claims"), reclaimed)},
		{21, "existing-volumes", "#1200", guarded("broletto-claims")},
		{22, "tenant-network", "#1201", both(guarded("broletto-networkpolicies", "broletto-endpoints"), closed)},
		{23, "self-service-roles", "#1202", nil},
		{24, "self-service-role-bindings", "#1203", nil},
	}
}
