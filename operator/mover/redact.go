package mover

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"sync"

	"github.com/kopia/kopia/repo/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/broletto/broletto/operator/move"
)

// redactor takes an order's secrets out of what is told.
type redactor struct{ replace *strings.Replacer }

func newRedactor(o move.Order) *redactor {
	var pairs []string
	for _, secret := range []string{o.Password, o.Store.SecretKey, o.Store.SessionToken, o.Store.AccessKey} {
		if len(secret) < 4 {
			continue
		}
		quoted, _ := json.Marshal(secret) // a text can be
		for _, form := range []string{
			secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)),
		} {
			pairs = append(pairs, form, "***")
		}
	}
	return &redactor{strings.NewReplacer(pairs...)}
}

// text is one line without secrets, of bounded length.
func (r *redactor) text(text string) string { return short(r.replace.Replace(text)) }

// logLines bounds what is told of kopia's log.
const logLines = 50

// engineLog has kopia's warnings and errors told, and keeps the last error.
type engineLog struct {
	zapcore.LevelEnabler
	redact *redactor
	say    func(string)
	mu     sync.Mutex
	lines  int
	last   string
}

func newEngineLog(r *redactor, say func(string)) *engineLog {
	return &engineLog{LevelEnabler: zap.WarnLevel, redact: r, say: say}
}

func (l *engineLog) factory() logging.LoggerFactory { return zap.New(l).Sugar().Named }

// With adds nothing: fields are not told.
func (l *engineLog) With([]zapcore.Field) zapcore.Core { return l }

// Check takes warnings and worse.
func (l *engineLog) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(e.Level) {
		return c.AddCore(e, l)
	}
	return c
}

// Write tells one line.
func (l *engineLog) Write(e zapcore.Entry, _ []zapcore.Field) error {
	text := l.redact.text(e.Message)
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Level >= zap.ErrorLevel {
		l.last = text
	}
	if l.lines++; l.lines <= logLines {
		l.say("engine: " + text)
	}
	return nil
}

// Sync does nothing: lines are told at once.
func (l *engineLog) Sync() error { return nil }

func (l *engineLog) lastError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}
