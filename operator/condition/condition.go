// Package condition sets the kstatus conditions of our kinds: three verdicts, of which an object has exactly one at a
// time, and reports, which answer a question of the kind's own. Nobody else touches conditions.
//
// Ready=True alone means done. Reconciling=True beside Ready=False means that work is under way and nobody is
// needed. Stalled=True beside Ready=False means that only a person can help. Absent means False.
package condition

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// maxMessage bounds a condition's message in bytes; the API server refuses more than 32 KiB, people read less.
const maxMessage = 1024

// Object is a kind of ours: it has conditions and says which generation they speak of.
type Object interface {
	client.Object
	GetConditions() *[]metav1.Condition
	GetObservedGeneration() int64
	SetObservedGeneration(generation int64)
}

// Succeed says that everything the spec asks for is in place.
func Succeed(o Object, message string) {
	settle(o, "", v1alpha1.ReasonSucceeded, message)
}

// Progress says that work is under way and nobody is needed: Ready=False, Reconciling=True.
func Progress(o Object, reason, message string) {
	settle(o, v1alpha1.ConditionReconciling, reason, message)
}

// Stall says that only a person can help: Ready=False, Stalled=True. The message says which object, why, and the way out.
func Stall(o Object, reason, message string) {
	settle(o, v1alpha1.ConditionStalled, reason, message)
}

// Report answers a question of the kind's own, such as "is every volume bound?". It changes no verdict.
func Report(o Object, kind string, answer bool, reason, message string) {
	status := metav1.ConditionFalse
	if answer {
		status = metav1.ConditionTrue
	}
	set(o, kind, status, reason, message)
}

// Doubt says that a question of the kind's own cannot be answered. It changes no verdict.
func Doubt(o Object, kind, reason, message string) {
	set(o, kind, metav1.ConditionUnknown, reason, message)
}

// Withdraw takes a report back: its question does not arise.
func Withdraw(o Object, kind string) { meta.RemoveStatusCondition(o.GetConditions(), kind) }

// True tells whether a condition is True and speaks of the object's present generation.
func True(o Object, kind string) bool {
	c := meta.FindStatusCondition(*o.GetConditions(), kind)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == o.GetGeneration()
}

// settle sets Ready, takes back the verdicts but the one that holds Ready back, if any, and says which generation all this
// speaks of. A verdict that stays keeps its time, so that to settle again what is settled changes nothing.
func settle(o Object, verdict, reason, message string) {
	o.SetObservedGeneration(o.GetGeneration())
	Report(o, v1alpha1.ConditionReady, verdict == "", reason, message)
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if kind == verdict {
			Report(o, kind, true, reason, message)
		} else {
			Withdraw(o, kind)
		}
	}
}

func set(o Object, kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(o.GetConditions(), metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: line(message), ObservedGeneration: o.GetGeneration(),
	})
	slices.SortFunc(*o.GetConditions(), func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
}

// Cut is as much of a text as a field of a status takes that holds so many bytes, without what is no UTF-8.
func Cut(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// line makes a message one line of bounded length without control or bidirectional characters and without Unicode's own
// line ends: parts of it may be text that a tenant wrote.
func line(message string) string {
	message = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(message, "?"))
	if len(message) <= maxMessage {
		return message
	}
	cut := maxMessage - len("…")
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + "…"
}
