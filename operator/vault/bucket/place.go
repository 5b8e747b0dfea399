package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/broletto/broletto/operator/s3"
)

// Files of a folder of credentials. The last is optional.
const (
	fileKey    = "access-key-id"
	fileSecret = "secret-access-key"
	fileToken  = "session-token"
)

const example = "s3://states/broletto?endpoint=https://s3.example.org&region=eu-south-1"

// parse reads s3://bucket/prefix?endpoint=https://host&region=name. Nothing but the prefix and the region may be left out.
func parse(u *url.URL, folder string) (s3.Place, error) {
	wrong := func(cause string) (s3.Place, error) {
		return s3.Place{}, fmt.Errorf("the state store %s: %s: write it as %s", u.Redacted(), cause, example)
	}
	if u.User != nil {
		return wrong("credentials do not belong into an address, which others may read")
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
	p := s3.Place{Endpoint: query.Get("endpoint"), Bucket: u.Host, Region: query.Get("region"), Prefix: strings.Trim(u.Path, "/")}
	if p.Prefix != "" {
		p.Prefix += "/"
	}
	if err := p.Check(); err != nil {
		return wrong(err.Error())
	}
	if folder == "" {
		return wrong("no folder of credentials is given, with files " + fileKey + " and " + fileSecret)
	}
	return p, nil
}

// account reads the credentials in a folder.
func account(folder string) (c s3.Credentials, err error) {
	for file, into := range map[string]*string{fileKey: &c.ID, fileSecret: &c.Secret, fileToken: &c.Token} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if file == fileToken && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return s3.Credentials{}, fmt.Errorf("reading credentials: %w", err)
		}
		if *into = strings.TrimSpace(string(text)); *into == "" {
			return s3.Credentials{}, fmt.Errorf("reading credentials: %s is empty", filepath.Join(folder, file))
		}
	}
	return c, nil
}
