// Package source gets a stack's code, and refuses code that no stack may have. What it gets is a stranger's: it is bounded in size, time and
// place, and nothing of it is run here.
//
// [Check] is not what keeps tenants apart: the runner's jail is. It keeps code from what would break the stack itself in silence (a
// backend of its own, files that beat the inputs), and names what cannot work in the jail before it fails there.
package source
