package dump

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/broletto/broletto/test/stores"
)

// TestPostgreSQL dumps a database of a real server and brings it back into another one, all of it or nothing.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	db := stores.NewPostgres(t)
	db.Do(t, "postgres", "CREATE DATABASE prima", "CREATE DATABASE dopo", "CREATE ROLE sportello")
	db.Do(t, "prima",
		"CREATE TABLE cittadini AS SELECT id, md5(id::text) AS nome FROM generate_series(1, 50000) id", "CREATE UNIQUE INDEX ON cittadini (id)",
		"GRANT SELECT ON cittadini TO sportello", "SELECT lo_from_bytea(0, 'un allegato')")
	server := func(database string, loads bool, env ...string) string {
		return serve(t, PostgreSQL("", loads, append(db.Env(t, database), env...), t.Output()))
	}
	count := func(database string) string {
		t.Helper()
		return db.Ask(t, database, "SELECT count(*) || ' ' || md5(string_agg(id || nome, ',' ORDER BY id)) FROM cittadini")
	}
	text, err := open(t.Context(), t, server("prima", false))
	if err != nil || len(text) < 1<<20 {
		t.Fatalf("a dump of %d bytes: %v", len(text), err)
	}
	want, into := count("prima"), server("dopo", true)
	for range 2 { // over what is there, too
		if err := Bring(t.Context(), into, bytes.NewReader(text), nil); err != nil {
			t.Fatal(err)
		}
		if got := count("dopo"); got != want {
			t.Errorf("it has %q, want %q", got, want)
		}
		db.Do(t, "dopo", "DELETE FROM cittadini WHERE id % 2 = 0", "SET ROLE sportello", "SELECT count(*) FROM cittadini")
	}

	changed := count("dopo")
	db.Do(t, "dopo", "CREATE VIEW in_uso AS SELECT * FROM cittadini")
	var failed *Failure
	if err := Bring(t.Context(), into, bytes.NewReader(text), nil); !errors.As(err, &failed) || !strings.Contains(failed.Message, "in_uso depends on") {
		t.Errorf("what is used came to %v", err)
	}
	db.Do(t, "dopo", "DROP VIEW in_uso")
	if err := Bring(t.Context(), into, bytes.NewReader(text[:len(text)-1000]), nil); !errors.As(err, &failed) {
		t.Errorf("what is cut came to %v", err)
	}
	if got := count("dopo"); got != changed {
		t.Errorf("what failed has left %q, want %q", got, changed)
	}
	if _, err := open(t.Context(), t, server("nulla", false)); !errors.As(err, &failed) || !strings.Contains(failed.Message, `"nulla" does not exist`) {
		t.Errorf("a database that is not there: %v", err)
	}
	if _, err := open(t.Context(), t, server("prima", false, "PGPASSWORD=sbagliata")); !errors.As(err, &failed) || !strings.Contains(failed.Message, "authentication failed") || strings.Contains(failed.Message, "sbagliata") {
		t.Errorf("with a wrong password: %v", err)
	}
}
