package archive

import (
	"bytes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// format is the first byte of everything sealed and of everything signed.
const format = 1

// ErrDamaged says that what is read is not what was written, or was not written by us.
var ErrDamaged = errors.New("damaged")

func damaged(text string, args ...any) error {
	return fmt.Errorf("%w: "+text, append([]any{ErrDamaged}, args...)...)
}

var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithSingleSegment(true)) // which says its size
		if err != nil {
			panic(err) // of no options but wrong ones
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(manifestLimit))
		if err != nil {
			panic(err) // of no options but wrong ones
		}
		return d
	})
)

// seal makes format, nonce, and ciphertext of compressed data; what was sealed as one thing does not open as another.
func seal(aead cipher.AEAD, as []byte, data []byte) []byte {
	packed := encoder().EncodeAll(data, make([]byte, 0, len(data)/4+256))
	return aead.Seal(append(make([]byte, 0, 1+len(packed)+aead.Overhead()), format), nil, packed, as)
}

// open is the way back, to no more than limit bytes.
func open(aead cipher.AEAD, as []byte, sealed []byte, limit int) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != format {
		return nil, damaged("it has an unknown format")
	}
	packed, err := aead.Open(nil, nil, sealed[1:], as)
	if err != nil {
		return nil, damaged("it does not open with the tenant's key under this name")
	}
	var h zstd.Header
	if err := h.Decode(packed); err != nil || !h.HasFCS || h.FrameContentSize > uint64(limit) {
		return nil, damaged("it would unpack to more than anything we write")
	}
	data, err := decoder().DecodeAll(packed, make([]byte, 0, h.FrameContentSize))
	if err != nil || len(data) > limit {
		return nil, damaged("it does not unpack")
	}
	return data, nil
}

// Hash of a file of the archive, as it lies there: SHA-256.
type Hash [sha256.Size]byte

// String is in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Signed is what can be known of a manifest or a removal without the tenant's key.
type Signed struct {
	// Sequence of the backup.
	Sequence int64
	// Previous is the sequence of the predecessor, and 0 of the first.
	Previous int64
	// PreviousHash is of the predecessor's file.
	PreviousHash Hash
	// Removed is the hash of the manifest that this is the removal of; zero: this is a manifest.
	Removed Hash
}

const (
	headerSize = 1 + 8 + 8 + 2*sha256.Size
	signedAs   = "broletto archive signature 1\x00"
)

func (s Signed) bytes() []byte {
	b := append(make([]byte, 0, headerSize), format)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Sequence))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Previous))
	b = append(b, s.PreviousHash[:]...)
	return append(b, s.Removed[:]...)
}

// sign seals the content under a name, behind a header that anybody can read, and signs it all with the name.
func (k Key) sign(name string, s Signed, content []byte) []byte {
	file := s.bytes()
	file = append(file, seal(k.cipher(), append([]byte(name+"\x00"), file...), content)...)
	return append(file, ed25519.Sign(k.signing(), signedText(name, file))...)
}

func signedText(name string, file []byte) []byte {
	return append([]byte(signedAs+name+"\x00"), file...)
}

// CheckSignature verifies that the file of that name in the bucket is signed by a tenant's key, whose [Key.Public] it takes, and for that
// name.
func CheckSignature(public ed25519.PublicKey, name string, file []byte) (Signed, error) {
	body := len(file) - ed25519.SignatureSize
	if body < headerSize || file[0] != format {
		return Signed{}, damaged("it is no signed file")
	}
	if !ed25519.Verify(public, signedText(name, file[:body]), file[body:]) {
		return Signed{}, damaged("it is not signed by the tenant's key for this name")
	}
	return readHeader(file), nil
}

func readHeader(file []byte) (s Signed) {
	s.Sequence = int64(binary.BigEndian.Uint64(file[1:]))
	s.Previous = int64(binary.BigEndian.Uint64(file[9:]))
	copy(s.PreviousHash[:], file[17:])
	copy(s.Removed[:], file[17+sha256.Size:])
	return s
}

// unsign is the way back of sign; the signature is checked before anything else is looked at.
func (k Key) unsign(name string, file []byte) (Signed, []byte, error) {
	s, err := CheckSignature(k.Public(), name, file)
	if err != nil {
		return Signed{}, nil, err
	}
	content, err := open(k.cipher(), append([]byte(name+"\x00"), file[:headerSize]...), file[headerSize:len(file)-ed25519.SignatureSize], manifestLimit)
	return s, content, err
}

// nameOf is the name that a page has by its content.
func nameOf(key []byte, workspace string, r Resource, plain []byte) string {
	mac := hmac.New(sha256.New, key)
	for _, part := range []string{workspace, r.Group, r.Version, r.Resource, r.Kind} {
		mac.Write([]byte(part))
		mac.Write([]byte{0})
	}
	mac.Write(plain)
	return hex.EncodeToString(mac.Sum(nil))
}

// lines are those of a page, without their ends.
func lines(plain []byte) [][]byte {
	if len(plain) == 0 || plain[len(plain)-1] != '\n' {
		return nil
	}
	return bytes.Split(plain[:len(plain)-1], []byte{'\n'})
}
