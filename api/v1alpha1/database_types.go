package v1alpha1

// DatabaseEngine is what keeps a database.
//
// +kubebuilder:validation:Enum=PostgreSQL
type DatabaseEngine string

// EnginePostgreSQL is dumped by pg_dump and brought back by pg_restore. The programs are those of the mover's image: a server may be older than
// they are, and not newer.
const EnginePostgreSQL DatabaseEngine = "PostgreSQL"

// Database is a database in a workspace, which is dumped in each backup beside the volumes, and brought back when its server runs again.
type Database struct {
	// name is a DNS label. The dump is called database/<name> in status.volumes.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="name is a DNS label of at most 63 characters, for example anagrafe"
	Name string `json:"name"`

	// engine is PostgreSQL.
	// +required
	Engine DatabaseEngine `json:"engine"`

	// service is the name of a Service in the workspace that selects the server's pods. No other host is reached.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')`,message="service is the name of a Service in the workspace, for example db"
	Service string `json:"service"`

	// port is the Service's.
	// +optional
	// +kubebuilder:default=5432
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// database is its name on the server.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?$')`,message="database is a name of letters, digits, dashes, dots and underscores, for example anagrafe"
	Database string `json:"database"`

	// credentialsSecret is the name of a Secret in the workspace with the keys username and password, as whom it is dumped and brought back.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')`,message="credentialsSecret is the name of a Secret in the workspace, for example db-backup"
	CredentialsSecret string `json:"credentialsSecret"`
}

// DatabasePrefix is what names in status.volumes begin with that are not of claims, but of databases.
const DatabasePrefix = "database/"
