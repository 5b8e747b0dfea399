package vault

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"
)

const (
	keySize = 32
	// format is the first byte of everything sealed: gzip, then AES-256-GCM with a random nonce.
	format = 1
	// purposes of the keys derived from a tenant's.
	forData  = "broletto vault data"
	forStack = "broletto stack "
)

// keyName is where a tenant's key is kept.
func keyName(tenant string) string { return "tenant-key-" + tenant }

// keyLife is how long a tenant's key is remembered after it was read. [Vault.Key] always reads it: whatever is done for a run begins with
// that, so that the key of a tenant that is gone is never used for a new one of its name.
const keyLife = 10 * time.Second

// knownKey is a tenant's key, and until when it is remembered.
type knownKey struct {
	key   []byte
	until time.Time
}

// tenantKey is a tenant's key, as it was read a moment ago or is read now.
func (v *Vault) tenantKey(ctx context.Context, tenant string) ([]byte, error) {
	v.mu.Lock()
	known := v.known[tenant]
	v.mu.Unlock()
	if time.Now().Before(known.until) {
		return known.key, nil
	}
	return v.readKey(ctx, tenant)
}

// readKey reads a tenant's key and remembers it.
func (v *Vault) readKey(ctx context.Context, tenant string) ([]byte, error) {
	now := time.Now()
	key, err := v.makeKey(ctx, tenant)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.DeleteFunc(v.known, func(_ string, k knownKey) bool { return now.After(k.until) })
	v.known[tenant] = knownKey{key, now.Add(keyLife)}
	return key, nil
}

// makeKey reads a tenant's key, and makes it on first use. Two who make it at once get the same one.
func (v *Vault) makeKey(ctx context.Context, tenant string) ([]byte, error) {
	for range attempts {
		key, _, err := v.keys.Read(ctx, keyName(tenant))
		if err == nil && len(key) != keySize {
			return nil, fmt.Errorf("the key of tenant %s has %d bytes, not %d: restore it from a backup", tenant, len(key), keySize)
		}
		if !errors.Is(err, ErrNotFound) {
			return key, wrap(err, "reading the key of tenant %s", tenant)
		}
		key = make([]byte, keySize)
		_, _ = rand.Read(key) // never fails
		if _, err = v.keys.Write(ctx, keyName(tenant), "", key); !errors.Is(err, ErrConflict) {
			return key, wrap(err, "making the key of tenant %s", tenant)
		}
	}
	return nil, fmt.Errorf("making the key of tenant %s: %w", tenant, ErrConflict)
}

// ForgetTenant takes a tenant's key away: nothing of its stacks can be read any more, wherever there may be copies.
func (v *Vault) ForgetTenant(ctx context.Context, tenant string) error {
	err := v.keys.Delete(ctx, keyName(tenant))
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.known, tenant)
	return wrap(err, "deleting the key of tenant %s", tenant)
}

// Key makes digests and passphrases of a stack; it is derived from the tenant's, and no other stack has it. 32 bytes.
func (v *Vault) Key(ctx context.Context, s Stack) ([]byte, error) {
	key, err := v.readKey(ctx, s.Tenant)
	if err != nil {
		return nil, err
	}
	return stackKey(key, s)
}

// KnownKey is Key as it was read a moment ago, for who only looks.
func (v *Vault) KnownKey(ctx context.Context, s Stack) ([]byte, error) {
	key, err := v.tenantKey(ctx, s.Tenant)
	if err != nil {
		return nil, err
	}
	return stackKey(key, s)
}

func stackKey(tenant []byte, s Stack) ([]byte, error) {
	return hkdf.Key(sha256.New, tenant, nil, forStack+string(s.UID), keySize)
}

func (v *Vault) cipher(ctx context.Context, tenant string) (cipher.AEAD, error) {
	key, err := v.tenantKey(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return cipherOf(key)
}

// freshCipher is of the key as it is now.
func (v *Vault) freshCipher(ctx context.Context, tenant string) (cipher.AEAD, error) {
	key, err := v.readKey(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return cipherOf(key)
}

func cipherOf(key []byte) (_ cipher.AEAD, err error) {
	if key, err = hkdf.Key(sha256.New, key, nil, forData, keySize); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal compresses and encrypts; what was sealed under one name does not open under another.
func (v *Vault) seal(ctx context.Context, tenant, name string, data []byte) ([]byte, error) {
	aead, err := v.cipher(ctx, tenant)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(data); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return aead.Seal([]byte{format}, nil, packed.Bytes(), []byte(name)), nil
}

// open is the way back. What does not open was written with another key, under another name, or not by us.
func (v *Vault) open(ctx context.Context, tenant, name string, sealed []byte) ([]byte, error) {
	aead, err := v.cipher(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if len(sealed) == 0 || sealed[0] != format {
		return nil, fmt.Errorf("%s in the vault has an unknown format: restore it, or upgrade the operator", name)
	}
	packed, err := aead.Open(nil, nil, sealed[1:], []byte(name))
	if err != nil { // with a key that is remembered and is another now, perhaps
		if aead, err = v.freshCipher(ctx, tenant); err == nil {
			packed, err = aead.Open(nil, nil, sealed[1:], []byte(name))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s in the vault does not open with the key of tenant %s: restore both from the same backup", name, tenant)
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpacking %s of the vault: %w", name, err)
	}
	data, err := io.ReadAll(reader)
	return data, wrap(err, "unpacking %s of the vault", name)
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
