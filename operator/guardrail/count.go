package guardrail

import "k8s.io/apimachinery/pkg/api/resource"

// Count is a number of objects as a quantity; nil, which the schema's default rules out, is none.
func Count(n *int32) resource.Quantity {
	if n == nil {
		return resource.MustParse("0")
	}
	return *resource.NewQuantity(int64(*n), resource.DecimalSI)
}
