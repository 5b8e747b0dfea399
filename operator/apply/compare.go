package apply

// open names the kinds whose spec other parties complete: the volume controllers write into a claim. Everything else
// that we make is exact outside its metadata: what somebody adds to a network policy or a binding is drift.
var open = map[string]bool{"PersistentVolumeClaim": true}

// matches tells whether live holds all that want says and, where nobody else may add, nothing more. Metadata is
// compared by what we want of it: labels, annotations and finalizers of others are theirs. Both are JSON values.
func matches(kind string, want, live map[string]any) bool {
	for key, value := range want {
		switch key {
		case "apiVersion", "kind":
		case "metadata":
			if !contains(value, live[key], false) {
				return false
			}
		default:
			if !contains(value, live[key], !open[kind]) {
				return false
			}
		}
	}
	return true
}

// Contains tells whether live holds all that want says. Both are JSON values.
func Contains(want, live any) bool { return contains(want, live, false) }

// contains tells whether live holds all of want; with exact, also nothing more. An empty map, list or absent value are one.
// A list is ordered and never partly ours.
func contains(want, live any, exact bool) bool {
	switch want := want.(type) {
	case map[string]any:
		live, isMap := live.(map[string]any)
		if !isMap && len(want) > 0 {
			return false
		}
		return containsMap(want, live, exact)
	case []any:
		live, isList := live.([]any)
		if (!isList && len(want) > 0) || len(live) != len(want) {
			return false
		}
		for i := range want {
			if !contains(want[i], live[i], exact) {
				return false
			}
		}
		return true
	default:
		return want == live
	}
}

func containsMap(want, live map[string]any, exact bool) bool {
	for key, value := range want {
		if !contains(value, live[key], exact) {
			return false
		}
	}
	if !exact {
		return true
	}
	for key, value := range live {
		if _, wanted := want[key]; !wanted && !empty(value) {
			return false
		}
	}
	return true
}

func empty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	default:
		return false
	}
}
