package stack

import (
	"testing"
	"time"

	"github.com/broletto/broletto/api/v1alpha1"
)

func TestMonthlyCost(t *testing.T) {
	t.Parallel()
	price := func(unit, amount, from string) v1alpha1.Price {
		return v1alpha1.Price{Unit: unit, Price: v1alpha1.Decimal(amount), From: v1alpha1.Date(from)}
	}
	risen := []v1alpha1.Price{price("instance-month", "45.00", "2025-01-01"), price("instance-month", "42.50", "2018-10-01"), price("activation", "300", "2018-10-01")}
	for name, test := range map[string]struct {
		quantity int32
		prices   []v1alpha1.Price
		day      string
		want     string
	}{
		"one":                           {1, risen, "2024-12-31", "42.50 EUR"},
		"the day of a new price":        {1, risen, "2025-01-01", "45.00 EUR"},
		"many":                          {3, risen, "2024-12-31", "127.50 EUR"},
		"before the first price":        {1, risen, "2018-09-30", ""},
		"whole":                         {2, []v1alpha1.Price{price("seat-month", "7", "2018-10-01")}, "2024-01-01", "14.00 EUR"},
		"parts of a cent are kept":      {7, []v1alpha1.Price{price("gib-month", "0.000145", "2018-10-01")}, "2024-01-01", "0.001015 EUR"},
		"more than a float has":         {1000000, []v1alpha1.Price{price("gib-month", "9999999999.999999", "2018-10-01")}, "2024-01-01", "9999999999999999.00 EUR"},
		"nothing":                       {1, []v1alpha1.Price{price("instance-month", "0", "2018-10-01")}, "2024-01-01", "0.00 EUR"},
		"no price":                      {1, nil, "2024-01-01", ""},
		"none by the month":             {1, risen[2:], "2024-01-01", ""},
		"two units, and which is meant": {1, append(risen, price("seat-month", "7", "2018-10-01")), "2024-01-01", ""},
	} {
		day, err := time.Parse(time.DateOnly, test.day)
		if err != nil {
			t.Fatal(err)
		}
		if got := MonthlyCost(test.quantity, test.prices, day, "EUR"); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
