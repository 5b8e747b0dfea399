package tenant

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/broletto/broletto/api/v1alpha1"
)

// Claims keeps codes and domains with whoever held them first. What is held stands in each tenant's status; since a
// status is read from a cache that may be behind, the grants of this process are remembered as well, and one lock decides
// one tenant at a time. Only the leader grants, and a new leader begins with a fresh cache.
type Claims struct {
	lock    sync.Mutex
	granted map[string]string // claim -> name of the tenant
}

// Rival is a tenant that holds what another one claims.
type Rival struct{ Claim, Held, Tenant string }

// Grant gives the tenant each of its claims that nobody else holds, and returns those that somebody does, by claim. The others
// are all tenants that exist.
func (c *Claims) Grant(t *v1alpha1.Tenant, others []v1alpha1.Tenant) (held []string, rivals []Rival) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.learn(others)
	wanted := claimsOf(t)
	for _, claim := range wanted {
		rival, found := c.rival(t.Name, claim)
		if !found {
			rival, found = c.elder(t, claim, others)
		}
		if found {
			rivals = append(rivals, rival)
			continue
		}
		c.granted[claim] = t.Name
		held = append(held, claim)
	}
	for claim, name := range c.granted { // what is no longer claimed is free again
		if name == t.Name && !slices.Contains(wanted, claim) {
			delete(c.granted, claim)
		}
	}
	return held, rivals
}

// learn brings the grants up to date: tenants that are gone hold nothing, and statuses tell what earlier leaders granted.
func (c *Claims) learn(tenants []v1alpha1.Tenant) {
	if c.granted == nil {
		c.granted = map[string]string{}
		for _, t := range tenants {
			for _, claim := range t.Status.Claims {
				c.granted[claim] = t.Name
			}
		}
	}
	exists := map[string]bool{}
	for _, t := range tenants {
		exists[t.Name] = true
	}
	for claim, name := range c.granted {
		if !exists[name] {
			delete(c.granted, claim)
		}
	}
}

// rival finds another tenant's grant that excludes a claim: the same one, or a domain around or below it. The answer
// does not depend on the order of the map: the smallest claim is told.
func (c *Claims) rival(tenant, claim string) (Rival, bool) {
	var found []Rival
	for held, name := range c.granted {
		if name != tenant && overlap(held, claim) {
			found = append(found, Rival{Claim: claim, Held: held, Tenant: name})
		}
	}
	if len(found) == 0 {
		return Rival{}, false
	}
	return slices.MinFunc(found, func(a, b Rival) int { return strings.Compare(a.Held, b.Held) }), true
}

// elder finds an older tenant that wants what nobody holds: it comes first, whoever of the two is looked at first.
func (c *Claims) elder(t *v1alpha1.Tenant, claim string, others []v1alpha1.Tenant) (Rival, bool) {
	for i := range others {
		other := &others[i]
		if !other.CreationTimestamp.Before(&t.CreationTimestamp) {
			continue
		}
		for _, wanted := range claimsOf(other) {
			if !overlap(wanted, claim) {
				continue
			}
			if _, barred := c.rival(other.Name, wanted); !barred {
				return Rival{Claim: claim, Held: wanted, Tenant: other.Name}, true
			}
		}
	}
	return Rival{}, false
}

func overlap(a, b string) bool {
	if a == b {
		return true
	}
	x, isDomain := strings.CutPrefix(a, "domain:")
	y, both := strings.CutPrefix(b, "domain:")
	return isDomain && both && (strings.HasSuffix(x, "."+y) || strings.HasSuffix(y, "."+x))
}

// claimsOf lists what a tenant claims, as "istat:012133" or "domain:lugano.example".
func claimsOf(t *v1alpha1.Tenant) []string {
	var out []string
	codes := t.Spec.Codes
	for _, code := range []struct{ system, value string }{
		{"bfs", codes.BFS}, {"cadastral", codes.Cadastral}, {"ipa", codes.IPA}, {"istat", codes.ISTAT}, {"other", codes.Other},
	} {
		if code.value != "" {
			out = append(out, code.system+":"+code.value)
		}
	}
	for _, domain := range t.Spec.Domains {
		out = append(out, "domain:"+string(domain))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// split separates rivals for codes from rivals for domains.
func split(rivals []Rival) (codes, domains []string) {
	for _, r := range rivals {
		text := fmt.Sprintf("%s is held by tenant %s", r.Claim, r.Tenant)
		if r.Held != r.Claim {
			text = fmt.Sprintf("%s overlaps %s of tenant %s", r.Claim, r.Held, r.Tenant)
		}
		if strings.HasPrefix(r.Claim, "domain:") {
			domains = append(domains, text)
		} else {
			codes = append(codes, text)
		}
	}
	return codes, domains
}
