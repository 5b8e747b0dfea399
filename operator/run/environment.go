package run

// What a runner finds in its environment. On a cluster these are set by its Job; on the local node, by that node.
const (
	// EnvBroker is the broker's URL, and EnvBrokerCA the certificates by which it is known, as PEM.
	EnvBroker   = "BROLETTO_BROKER"
	EnvBrokerCA = "BROLETTO_BROKER_CA"
	// EnvToken is the file with the token for the broker; see [Audience]. Default: [DefaultToken].
	EnvToken = "BROLETTO_TOKEN"
	// EnvAccount is the folder with token, ca.crt and namespace by which a stack's code reaches the API server. Default: [DefaultAccount].
	EnvAccount = "BROLETTO_SERVICEACCOUNT"
	// EnvWork is an empty folder that the runner may write to. Default: [DefaultWork].
	EnvWork = "BROLETTO_WORK"
	// EnvEngines is the folder with the engines, their providers in providers/. Default: [DefaultEngines].
	EnvEngines = "BROLETTO_ENGINES"
)

// Where a runner's pod has them.
const (
	DefaultToken   = "/var/run/broletto/token"
	DefaultAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	DefaultWork    = "/scratch"
	DefaultEngines = "/engines"
	// DefaultState is where in DefaultWork the state is, on a disk of its own: what fills the other takes no state away.
	DefaultState = DefaultWork + "/state"
)
