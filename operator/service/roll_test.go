package service

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/broletto/broletto/api/v1alpha1"
	"github.com/broletto/broletto/operator/condition"
)

// town is an instance that is Ready at a version.
func town(n int, version v1alpha1.Version) *v1alpha1.ServiceInstance {
	i := &v1alpha1.ServiceInstance{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("t%02d", n), Name: "albo"}}
	i.Status.Version = version
	condition.Succeed(i, "")
	return i
}

func begin(i *v1alpha1.ServiceInstance, version v1alpha1.Version) {
	i.Status.Upgrade = &v1alpha1.Upgrade{Version: version}
	condition.Report(i, v1alpha1.ConditionConforms, false, v1alpha1.ReasonUpgrading, "")
}

// TestRollIsBounded plays a roll-out: however often instances are looked at, at most a fifth are on their way, and all arrive.
func TestRollIsBounded(t *testing.T) {
	for _, total := range []int{1, 4, 5, 10, 23} {
		r := roll{version: "1.1.0"}
		for n := range total {
			r.instances = append(r.instances, town(n, "1.0.0"))
		}
		for rounds := 0; ; rounds++ {
			var under []*v1alpha1.ServiceInstance
			for _, i := range r.instances {
				if its, _ := r.turn(i); its && r.outdated(i) {
					begin(i, r.version)
					under = append(under, i)
				}
			}
			if len(under) == 0 {
				break
			}
			if len(under) > max(1, total/5) || rounds > total {
				t.Fatalf("%d of %d at a time in round %d", len(under), total, rounds)
			}
			under[0].Status.Version, under[0].Status.Upgrade = r.version, nil
		}
		for _, i := range r.instances {
			if i.Status.Version != r.version {
				t.Errorf("%s is at %s", key(i), i.Status.Version)
			}
		}
	}
}

// TestRollStops: one that failed goes on trying, the others wait; pinned, new and broken ones hold nobody up.
func TestRollStops(t *testing.T) {
	failed, other, pinned, fresh, broken := town(1, "1.0.0"), town(2, "1.0.0"), town(0, "1.0.0"), town(0, ""), town(0, "1.0.0")
	pinned.Spec.Version = "1.0.0"
	condition.Stall(broken, v1alpha1.ReasonDataClassNotAllowed, "")
	r := roll{"1.1.0", []*v1alpha1.ServiceInstance{failed, other, pinned, fresh, broken}}
	if its, why := r.turn(failed); !its {
		t.Fatal(why)
	}
	begin(failed, r.version)
	condition.Stall(failed, v1alpha1.ReasonInvalidManifest, "")
	if its, _ := r.turn(failed); !its {
		t.Error("who failed may not try again")
	}
	if its, why := r.turn(other); its || why == "" {
		t.Error("the others go on")
	}
	r.version = "1.1.1"
	if its, why := r.turn(failed); !its {
		t.Errorf("the corrected version: %s", why)
	}
}
