package archive

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
)

const (
	keySize = 32
	// keyFile is how the plaintext of a wrapped key begins, before the tenant's name, a line's end, and the key.
	keyFile = "broletto archive key 1\n"
	// keyLimit is how large a wrapped key may be: 50 recipients, generously.
	keyLimit = 16 << 10
)

// purposes of the keys derived from a tenant's.
const (
	forSealing  = "broletto archive sealing"
	forNames    = "broletto archive names"
	forSigning  = "broletto archive signing"
	forPassword = "broletto archive volumes"
)

// Key is a tenant's: whoever has it can read the tenant's backups and sign new ones.
type Key struct{ secret [keySize]byte }

// NewKey makes a random one.
func NewKey() (k Key) {
	_, _ = rand.Read(k.secret[:]) // never fails
	return k
}

// ParseKey reads what [Key.Bytes] gave.
func ParseKey(b []byte) (k Key, err error) {
	if len(b) != keySize {
		return Key{}, fmt.Errorf("the archive's key has %d bytes, not %d: unwrap it from the bucket with the escrow identity", len(b), keySize)
	}
	copy(k.secret[:], b)
	return k, nil
}

// Bytes is the key itself, 32 bytes.
func (k Key) Bytes() []byte { return slices.Clone(k.secret[:]) }

// String keeps the key out of logs.
func (k Key) String() string { return "archive key" }

// GoString keeps the key out of logs.
func (k Key) GoString() string { return k.String() }

// Wrap encrypts the key to age recipients (age1…), any of whom can unwrap it. It says whose key it is, so that no other tenant's passes for it.
func (k Key) Wrap(tenant string, recipients []string) ([]byte, error) {
	if len(recipients) == 0 {
		return nil, errors.New("wrapping the archive's key: no recipient is given, and nobody could ever read the backups")
	}
	to := make([]age.Recipient, len(recipients))
	for i, r := range recipients {
		one, err := age.ParseX25519Recipient(r)
		if err != nil {
			return nil, fmt.Errorf("wrapping the archive's key: recipient %d is no age recipient (age1…)", i+1) // err has it, and it may be an identity
		}
		to[i] = one
	}
	var wrapped bytes.Buffer
	w, err := age.Encrypt(&wrapped, to...)
	if err != nil {
		return nil, fmt.Errorf("wrapping the archive's key: %w", err)
	}
	if _, err := w.Write(append([]byte(keyFile+tenant+"\n"), k.secret[:]...)); err != nil {
		return nil, fmt.Errorf("wrapping the archive's key: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("wrapping the archive's key: %w", err)
	}
	return wrapped.Bytes(), nil
}

// Unwrap opens what Wrap made for the tenant, with an age identity (AGE-SECRET-KEY-1…).
func Unwrap(wrapped []byte, tenant, identity string) (Key, error) {
	id, err := age.ParseX25519Identity(strings.TrimSpace(identity))
	if err != nil {
		return Key{}, errors.New("unwrapping the archive's key: the identity is no age identity (AGE-SECRET-KEY-1…)") // err has it
	}
	r, err := age.Decrypt(bytes.NewReader(wrapped), id)
	if err != nil {
		return Key{}, fmt.Errorf("unwrapping the key of tenant %s: %w", tenant, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, keyLimit))
	if err != nil {
		return Key{}, fmt.Errorf("unwrapping the key of tenant %s: %w", tenant, err)
	}
	secret, ours := bytes.CutPrefix(text, []byte(keyFile+tenant+"\n"))
	if !ours || len(secret) != keySize {
		return Key{}, fmt.Errorf("unwrapping the key of tenant %s: what opened is no key of this tenant", tenant)
	}
	return ParseKey(secret)
}

// Public verifies the signatures of manifests, and reads nothing: for auditors.
func (k Key) Public() ed25519.PublicKey { return k.signing().Public().(ed25519.PublicKey) }

// Password opens the repository of the tenant's volumes.
func (k Key) Password() string { return hex.EncodeToString(k.derive(forPassword)) }

func (k Key) signing() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.derive(forSigning)) }

func (k Key) derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, k.secret[:], nil, purpose, keySize)
	if err != nil {
		panic(err) // of no length but a wrong one
	}
	return key
}

func (k Key) cipher() cipher.AEAD {
	block, err := aes.NewCipher(k.derive(forSealing))
	if err != nil {
		panic(err) // of no length but a wrong one
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // of AES's block it does not happen
	}
	return aead
}

// keyName is where a tenant's key is kept for some recipients.
func keyName(tenant string, recipients []string) string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(recipients)), "\n")))
	return tenant + "/" + keysFolder + hex.EncodeToString(sum[:8]) + ".age"
}

// SaveKey keeps the key in the bucket, wrapped for the recipients, without a time limit of its own: what it opens is locked, not it. A second
// time does nothing. Keys of other recipients stay.
func (r Repository) SaveKey(ctx context.Context, recipients []string, until time.Time) error {
	wrapped, err := r.Key.Wrap(r.Tenant, recipients)
	if err != nil {
		return err
	}
	name := keyName(r.Tenant, recipients)
	if err = r.Store.Put(ctx, name, wrapped, until); errors.Is(err, ErrExists) && !until.IsZero() {
		err = r.Store.Keep(ctx, name, until)
	}
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("keeping the key of tenant %s: %w", r.Tenant, err)
	}
	return nil
}
