package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// Move takes everything of all stacks from one store to another, and none of the tenants' keys. Nothing is deleted before all of it has been
// read back from where it goes. It can be repeated after it failed. No operator may run meanwhile.
func Move(ctx context.Context, from, to Store) (moved int, err error) {
	names, err := from.List(ctx, stackPrefix)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if err := carry(ctx, name, from, to); err != nil {
			return 0, err
		}
	}
	for _, name := range names {
		if err := from.Delete(ctx, name); err != nil {
			return 0, wrap(err, "deleting %s, which was moved", name)
		}
	}
	return len(names), nil
}

// carry copies one thing. What is sealed opens under the same name wherever it is kept.
func carry(ctx context.Context, name string, from, to Store) error {
	data, _, err := from.Read(ctx, name)
	if err != nil {
		return wrap(err, "reading %s", name)
	}
	if _, err := to.Write(ctx, name, "", data); err != nil && !errors.Is(err, ErrConflict) {
		return wrap(err, "writing %s", name)
	}
	there, _, err := to.Read(ctx, name)
	if err != nil {
		return wrap(err, "reading %s back", name)
	}
	if !bytes.Equal(there, data) {
		return fmt.Errorf("%s is another one where it should go, and was left so: move to an empty store, or delete there what is out of date", name)
	}
	return nil
}
