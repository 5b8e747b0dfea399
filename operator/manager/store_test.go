package manager

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"

	"github.com/broletto/broletto/operator/vault"
	"github.com/broletto/broletto/test/stores"
)

// TestStateStore chooses by address: what is written wrongly or cannot keep states ends the start, what is not there is told and waited for.
func TestStateStore(t *testing.T) {
	t.Parallel()
	lax := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"x"`) }))
	defer lax.Close()
	folder := stores.Folder(t, map[string]string{"access-key-id": "k", "secret-access-key": "segreto", "username": "u", "password": "segreto"})
	for address, want := range map[string]struct{ wrong, said string }{
		"":        {},
		"secrets": {},
		"s3://stati?region=r&endpoint=" + url.QueryEscape(lax.URL): {wrong: "of 8 conditional writes at once 8 went through"},
		"s3://stati?region=r&endpoint=http://127.0.0.1:1":          {said: "opening the state store s3://stati/"},
		"postgres://127.0.0.1:1/d":                                 {said: "opening the state store postgres://127.0.0.1:1/d"},
		"postgres://u:segreto@127.0.0.1/d":                         {wrong: "a password does not belong"},
		"postgres://u:segreto@[/d":                                 {wrong: "--state-store is no URL"},
		"mysql://h/d":                                              {wrong: `--state-store has the scheme "mysql"`},
	} {
		var said strings.Builder
		log := funcr.New(func(_, args string) { said.WriteString(args) }, funcr.Options{})
		secrets := vault.NewMemory()
		s, err := stateStore(t.Context(), log, secrets, address, folder)
		if want.wrong != "" && (err == nil || !strings.Contains(err.Error(), want.wrong)) || want.wrong == "" && err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if !strings.Contains(said.String(), want.said) || want.said == "" && said.Len() > 0 {
			t.Errorf("%s: said %q", address, said.String())
		}
		if strings.Contains(said.String(), "segreto") || err != nil && strings.Contains(err.Error(), "segreto") {
			t.Errorf("%s: the secret is told: %q, %v", address, said.String(), err)
		}
		if (address == "" || address == StateStore) && s != vault.Store(secrets) {
			t.Errorf("%q is not the store in Secrets", address)
		}
		if want.said != "" {
			if _, _, err := s.Read(t.Context(), "x"); err == nil || errors.Is(err, vault.ErrNotFound) {
				t.Errorf("%s: reading from a store that is not there: %v", address, err)
			}
		}
	}
}
