package stack

import (
	"context"
	"fmt"
	"math/big"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/broletto/broletto/api/v1alpha1"
)

// estimate says of a plan what comes of it costs a month, where the stack provisions a service of the catalogue. That it does is the
// instance's status to say, which only the operator writes: nobody gives their stack a price by calling it so.
func (r *Reconciler) estimate(ctx context.Context, s *v1alpha1.Stack, runs []*v1alpha1.StackRun) error {
	name, provisions := strings.CutPrefix(s.Name, v1alpha1.ServiceStackPrefix)
	if s.Status.Plan == nil || !provisions {
		return nil
	}
	made := newest(runs, func(one *v1alpha1.StackRun) bool { return one.Name == s.Status.Plan.Run })
	if made == nil || made.Status.FinishedAt == nil {
		return nil // what was said of it stays
	}
	var i v1alpha1.ServiceInstance
	var o v1alpha1.ServiceOffering
	var c v1alpha1.Consortium
	for _, get := range []func() error{
		func() error { return r.Client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, &i) },
		func() error { return r.Client.Get(ctx, client.ObjectKey{Name: string(i.Spec.Offering)}, &o) },
		func() error { return r.Client.Get(ctx, client.ObjectKey{Name: o.Spec.Consortium}, &c) },
	} {
		if err := get(); err != nil {
			return wrapped(client.IgnoreNotFound(err), "reading what service stack %s provisions", s.Name)
		}
	}
	if i.Status.Stack != s.Name {
		return nil
	}
	zone, err := time.LoadLocation(c.Spec.TimeZone)
	if err != nil {
		return fmt.Errorf("the time zone of consortium %s: %w", c.Name, err)
	}
	s.Status.Plan.MonthlyCost = MonthlyCost(i.Spec.Quantity, o.Spec.Prices, made.Status.FinishedAt.In(zone), c.Spec.Currency)
	return nil
}

// MonthlyCost is a quantity times the price by the month that holds on a day, for example "42.50 EUR", exactly. Empty: there is no such
// price, or there are two units by the month, so that nobody knows which is meant.
func MonthlyCost(quantity int32, prices []v1alpha1.Price, day time.Time, currency string) string {
	var now *v1alpha1.Price
	for i := range prices {
		p := &prices[i]
		switch {
		case !strings.HasSuffix(p.Unit, "-month"), string(p.From) > day.Format(time.DateOnly):
			continue
		case now != nil && now.Unit != p.Unit:
			return ""
		case now == nil || p.From > now.From:
			now = p
		}
	}
	if now == nil {
		return ""
	}
	amount, valid := new(big.Rat).SetString(string(now.Price))
	if !valid {
		return ""
	}
	amount.Mul(amount, new(big.Rat).SetInt64(int64(quantity)))
	whole, cents, _ := strings.Cut(amount.FloatString(6), ".") // a price has at most six decimals
	cents = cents[:2] + strings.TrimRight(cents[2:], "0")
	return whole + "." + cents + " " + currency
}
