package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Files of a folder of credentials. The last is optional.
const (
	fileKey    = "access-key-id"
	fileSecret = "secret-access-key"
	fileToken  = "session-token"
)

const example = "s3://states/broletto?endpoint=https://s3.example.org&region=eu-south-1"

// place is where the vault is.
type place struct {
	bucket, prefix string
	endpoint       *url.URL
	region         string
	credentials    string // folder
}

// parse reads s3://bucket/prefix?endpoint=https://host&region=name. Nothing but the prefix and the region may be left out.
func parse(u *url.URL, folder string) (place, error) {
	wrong := func(cause string) (place, error) {
		return place{}, fmt.Errorf("the state store %s: %s: write it as %s", u.Redacted(), cause, example)
	}
	if u.User != nil {
		return wrong("credentials do not belong into an address, which others may read")
	}
	if err := s3utils.CheckValidBucketNameStrict(u.Host); err != nil {
		return wrong("it names no bucket: " + err.Error())
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return wrong("its query cannot be read")
	}
	for name := range query {
		if name != "endpoint" && name != "region" {
			return wrong("there is no option " + name)
		}
	}
	endpoint, err := url.Parse(query.Get("endpoint"))
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "https" && endpoint.Scheme != "http" ||
		endpoint.User != nil || strings.Trim(endpoint.Path, "/") != "" || endpoint.RawQuery != "" {
		return wrong("its endpoint is no https:// or http:// with host and port alone")
	}
	p := place{bucket: u.Host, endpoint: endpoint, region: query.Get("region"), credentials: folder}
	if p.prefix = strings.Trim(u.Path, "/"); p.prefix != "" {
		p.prefix += "/"
	}
	if folder == "" {
		return wrong("no folder of credentials is given, with files " + fileKey + " and " + fileSecret)
	}
	return p, nil
}

// Retrieve reads the credentials at each use: whoever changes the mounted Secret need not restart the operator.
func (p place) Retrieve() (credentials.Value, error) {
	v := credentials.Value{SignerType: credentials.SignatureV4}
	for file, into := range map[string]*string{fileKey: &v.AccessKeyID, fileSecret: &v.SecretAccessKey, fileToken: &v.SessionToken} {
		text, err := os.ReadFile(filepath.Join(p.credentials, file))
		if file == fileToken && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return credentials.Value{}, fmt.Errorf("reading credentials: %w", err)
		}
		if *into = strings.TrimSpace(string(text)); *into == "" {
			return credentials.Value{}, fmt.Errorf("reading credentials: %s is empty", filepath.Join(p.credentials, file))
		}
	}
	return v, nil
}

// RetrieveWithCredContext is Retrieve.
func (p place) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return p.Retrieve()
}

// IsExpired has them read each time.
func (p place) IsExpired() bool { return true }
