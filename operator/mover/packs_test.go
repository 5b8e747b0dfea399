package mover

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/kopia/kopia/repo/blob"
)

// shelf has packs of 20 MiB, each of one letter.
type shelf struct{ blob.Storage }

const shelved = 20 << 20

func (shelf) GetBlob(_ context.Context, id blob.ID, _, _ int64, out blob.OutputBuffer) error {
	_, err := out.Write(bytes.Repeat([]byte{id[1]}, shelved))
	return err
}

func (shelf) Close(context.Context) error { return nil }

// page is what is read of a pack.
type page struct{ bytes.Buffer }

func (p *page) Length() int { return p.Len() }

// TestAnnounced: of packs that do not all fit into memory, each is fetched once if it was announced how much of it will be read, and none is left
// when that was. Of those that nobody announced, none is fetched more than twice.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	const packs, half = 8, shelved / 2
	if packs*shelved <= inMemory {
		t.Fatal("all fit into memory")
	}
	for most, announced := range map[int64]bool{1: true, 2: false} {
		t.Run(fmt.Sprint(announced), func(t *testing.T) {
			t.Parallel()
			m := newMeter()
			c := newPackCache(shelf{}, t.TempDir(), packs*shelved, m)
			id := func(i int) blob.ID { return blob.ID([]byte{'p', 'a' + byte(i)}) }
			for i := range packs {
				if announced {
					c.want(id(i), shelved)
				}
			}
			for _, at := range []int64{0, half} {
				for i := range packs {
					if i+1 < packs {
						c.ahead(t.Context(), id(i+1))
					}
					var got page
					if err := c.GetBlob(t.Context(), id(i), at, half, &got); err != nil || !bytes.Equal(got.Bytes(), bytes.Repeat([]byte{'a' + byte(i)}, half)) {
						t.Fatalf("pack %s from %d: %d bytes, %v", id(i), at, got.Len(), err)
					}
				}
			}
			c.rest()
			for i := range packs {
				if n := m.packs[id(i)]; n > most {
					t.Errorf("pack %s was fetched %d times", id(i), n)
				}
			}
			if announced && len(c.packs) > 0 {
				t.Errorf("%d packs are left that nobody wants", len(c.packs))
			}
			if err := c.Close(t.Context()); err != nil || c.memory != 0 || c.bytes != 0 {
				t.Errorf("%d bytes in memory and %d in files are left: %v", c.memory, c.bytes, err)
			}
		})
	}
}
