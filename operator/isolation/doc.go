// Package isolation tells, at every scrape, how each tenant stands to the checks of the multi-tenancy benchmark, by what the cache
// holds: its namespaces and their guardrails, the admission policies in force, its storage classes. It must never write, never ask the
// API server, and never call a check met when what decides it cannot be seen from here.
package isolation
