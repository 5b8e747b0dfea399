package workspace

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
)

// protecting is a consortium that protects ranges.
func protecting(cidrs ...v1alpha1.CIDR) *v1alpha1.Consortium {
	return &v1alpha1.Consortium{Spec: v1alpha1.ConsortiumSpec{Network: v1alpha1.ConsortiumNetwork{ProtectedCIDRs: cidrs}}}
}

// asShipped is what every private range is closed by.
var asShipped = protecting("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")

func TestBlock(t *testing.T) {
	cases := map[string]struct {
		reason string
		cidr   v1alpha1.CIDR
		of     *v1alpha1.Consortium
		except []string
	}{
		"Outside":      {"nothing closed in it", "203.0.113.0/24", asShipped, nil},
		"One":          {"a closed range in it", "10.0.0.0/7", asShipped, []string{"10.0.0.0/8"}},
		"Host":         {"an address in it", "168.63.129.0/24", asShipped, []string{"168.63.129.16/32"}},
		"Neighbour":    {"next to it", "168.63.129.0/28", asShipped, nil},
		"AllOfFour":    {"everything of one family", "0.0.0.0/0", protecting(), []string{"100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32"}},
		"AllOfSix":     {"everything of the other", "::/0", protecting(), []string{"fd00:ec2::254/128", "fe80::/10"}},
		"Nested":       {"a range within another is told once", "198.51.0.0/16", protecting("198.51.100.128/25", "198.51.100.0/24"), []string{"198.51.100.0/24"}},
		"WithinClosed": {"also within what is always closed", "169.0.0.0/8", protecting("169.254.169.0/24"), []string{"169.254.0.0/16"}},
		"HostBits":     {"a protected range with host bits is the whole range", "198.51.0.0/16", protecting("198.51.100.77/24"), []string{"198.51.100.0/24"}},
		"Nonsense":     {"what the schema rules out breaks nothing", "nonsense", asShipped, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := block(tc.cidr, Context{Consortium: tc.of})
			if diff := cmp.Diff(tc.except, got.Except); diff != "" || *got.CIDR != string(tc.cidr) {
				t.Errorf("%s: %s (-want +got):\n%s", tc.reason, *got.CIDR, diff)
			}
		})
	}
}

func TestInside(t *testing.T) {
	cases := map[string]struct {
		reason string
		cidr   v1alpha1.CIDR
		outer  string
	}{
		"Same":      {"all of it", "10.0.0.0/8", "10.0.0.0/8"},
		"Part":      {"a part of it", "10.96.0.0/12", "10.0.0.0/8"},
		"Last":      {"its last address", "10.255.255.255/32", "10.0.0.0/8"},
		"After":     {"the first address after it", "11.0.0.0/32", ""},
		"Around":    {"around it", "10.0.0.0/7", ""},
		"Metadata":  {"the metadata address", "169.254.169.254/32", "169.254.0.0/16"},
		"LinkLocal": {"link-local, of the other family", "fe80::1/128", "fe80::/10"},
		"Unique":    {"private, of the other family", "fd12::/16", "fc00::/7"},
		"Outside":   {"outside", "2001:db8::/32", ""},
		"Nonsense":  {"what the schema rules out", "nonsense", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			outer, shut := inside(tc.cidr, asShipped)
			if shut != (tc.outer != "") || (shut && outer.String() != tc.outer) {
				t.Errorf("%s: got %v, %v; want %q", tc.reason, outer, shut, tc.outer)
			}
		})
	}
}

// FuzzBlock opens any range beside any protected range and looks at addresses in and around all of them: what is closed is closed,
// the rest of the range is open, and the API server would take it.
func FuzzBlock(f *testing.F) {
	f.Add(true, []byte{0, 0, 0, 0}, 0, []byte{10, 0, 0, 0}, 8)
	f.Add(true, []byte{169, 254, 169, 254}, 31, []byte{169, 254, 169, 254}, 32)
	f.Add(false, []byte{0xfd, 0, 0x0e, 0xc2}, 16, []byte{0xfd}, 8)
	f.Add(false, []byte{0xfe, 0x80}, 9, []byte{0xfe, 0x80}, 64)
	f.Fuzz(func(t *testing.T, four bool, address []byte, bits int, protected []byte, protectedBits int) {
		cidr, own := prefix(four, address, bits), prefix(four, protected, protectedBits)
		consortium := protecting(v1alpha1.CIDR(own.String()))
		if _, shut := inside(v1alpha1.CIDR(cidr.String()), consortium); shut {
			for _, probe := range probes(cidr, own) {
				if cidr.Contains(probe) && !isClosed(probe, own) {
					t.Errorf("%s is called closed, and %s is not", cidr, probe)
				}
			}
			return
		}
		got := block(v1alpha1.CIDR(cidr.String()), Context{Consortium: consortium})
		var except []netip.Prefix
		for _, text := range got.Except {
			inner := netip.MustParsePrefix(text)
			if inner != inner.Masked() || inner.Bits() <= cidr.Bits() || !cidr.Contains(inner.Addr()) {
				t.Errorf("the API server refuses to except %s from %s", inner, cidr)
			}
			if slices.ContainsFunc(except, inner.Overlaps) {
				t.Errorf("%s is excepted twice: %v", inner, got.Except)
			}
			except = append(except, inner)
		}
		for _, probe := range probes(cidr, own) {
			open := cidr.Contains(probe) && !slices.ContainsFunc(except, func(p netip.Prefix) bool { return p.Contains(probe) })
			if want := cidr.Contains(probe) && !isClosed(probe, own); open != want {
				t.Errorf("%s without %v: %s is open %v, want %v", cidr, except, probe, open, want)
			}
		}
	})
}

// prefix makes a range of any bytes.
func prefix(four bool, address []byte, bits int) netip.Prefix {
	var full [16]byte
	copy(full[:], address)
	addr := netip.AddrFrom16(full)
	if addr.Is4In6() {
		addr = netip.AddrFrom16([16]byte{0x20, 1}) // the schema rules such addresses out
	}
	if four {
		addr = netip.AddrFrom4([4]byte(full[:4]))
	}
	return netip.PrefixFrom(addr, int(uint(bits)%uint(addr.BitLen()+1))).Masked()
}

func isClosed(addr netip.Addr, own netip.Prefix) bool {
	return own.Contains(addr) || slices.ContainsFunc(closed, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// probes are the edges of the ranges and of all that is always closed, and their neighbours outside.
func probes(ranges ...netip.Prefix) (out []netip.Addr) {
	for _, p := range slices.Concat(closed, ranges) {
		first, last := p.Addr(), lastOf(p)
		for _, addr := range []netip.Addr{first.Prev(), first, last, last.Next()} {
			if addr.IsValid() {
				out = append(out, addr)
			}
		}
	}
	return out
}

func lastOf(p netip.Prefix) netip.Addr {
	text := p.Addr().AsSlice()
	for i := p.Bits(); i < len(text)*8; i++ {
		text[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(text)
	return last
}

// FuzzClosedRanges sorts any protected ranges: none lies within another, and none is forgotten.
func FuzzClosedRanges(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0, 8, 10, 1, 0, 0, 16, 9, 0, 0, 0, 7, 169, 254, 0, 0, 15})
	f.Fuzz(func(t *testing.T, text []byte) {
		var cidrs []v1alpha1.CIDR
		var ranges []netip.Prefix
		for chunk := range slices.Chunk(text, 5) {
			if len(chunk) == 5 {
				p := prefix(true, binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(chunk)), int(chunk[4]))
				cidrs, ranges = append(cidrs, v1alpha1.CIDR(p.String())), append(ranges, p)
			}
		}
		got := closedRanges(protecting(cidrs...))
		for i, p := range got {
			for _, q := range got[:i] {
				if p.Overlaps(q) {
					t.Errorf("%s overlaps %s", p, q)
				}
			}
		}
		for _, p := range slices.Concat(ranges, closed) {
			if !slices.ContainsFunc(got, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }) {
				t.Errorf("%s is forgotten in %v", p, got)
			}
		}
	})
}

func TestHostWithin(t *testing.T) {
	domains := []v1alpha1.Hostname{"lugano.example", "b.example"}
	cases := map[string]struct {
		reason string
		host   v1alpha1.Hostname
		want   bool
	}{
		"Same":      {"the domain itself", "lugano.example", true},
		"Below":     {"a host in it", "www.lugano.example", true},
		"DeepBelow": {"far below", "a.b.c.lugano.example", true},
		"Other":     {"the second domain", "x.b.example", true},
		"Ending":    {"a name that only ends alike", "notlugano.example", false},
		"Above":     {"around it", "example.com", false},
		"Longer":    {"the domain with more behind it", "lugano.example.com", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := hostWithin(tc.host, domains); got != tc.want {
				t.Errorf("%s: %v, want %v", tc.reason, got, tc.want)
			}
		})
	}
	if hostWithin("x.example", nil) {
		t.Error("who has no domains serves no hosts")
	}
}

// FuzzHostWithin compares with the definition by labels.
func FuzzHostWithin(f *testing.F) {
	f.Add("www.lugano.example", "lugano.example")
	f.Add("notlugano.example", "lugano.example")
	f.Add("lugano.example", "www.lugano.example")
	f.Add(".", "")
	f.Fuzz(func(t *testing.T, host, domain string) {
		labels, outer := strings.Split(host, "."), strings.Split(domain, ".")
		want := len(labels) >= len(outer) && slices.Equal(labels[len(labels)-len(outer):], outer)
		if got := hostWithin(v1alpha1.Hostname(host), []v1alpha1.Hostname{v1alpha1.Hostname(domain)}); got != want {
			t.Errorf("%q within %q: %v, want %v", host, domain, got, want)
		}
	})
}

func TestConsent(t *testing.T) {
	w := &v1alpha1.Workspace{ObjectMeta: metav1.ObjectMeta{Namespace: "lugano", Name: "identita"}}
	named := []v1alpha1.Peer{
		{Workspace: "sportello"}, {Tenant: "bellinzona", Workspace: "sportello"}, {Tenant: "lugano", Workspace: "sportello"}, {Workspace: "gis"}, {Tenant: "chiasso", Workspace: "sito"},
	}
	consent := []Peer{{"lugano", "sportello"}, {"bellinzona", "sportello"}, {"locarno", "unasked"}}
	if diff := cmp.Diff([]string{"bellinzona--sportello", "lugano--sportello"}, consenting(w, named, consent)); diff != "" {
		t.Errorf("who named us and is named, each once (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"chiasso/sito", "lugano/gis"}, unanswered(w, named, consent)); diff != "" {
		t.Errorf("who is named and did not name us (-want +got):\n%s", diff)
	}
	if got := consenting(w, nil, consent); got != nil {
		t.Errorf("whom we did not name opens %v", got)
	}
}
