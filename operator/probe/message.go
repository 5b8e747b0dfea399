package probe

import (
	"bytes"
	"crypto/rand"
	"strings"
)

const (
	// greeting begins every question and answer: what does not begin so is not ours, and gets no answer.
	greeting = "broletto-probe "
	// maxMessage bounds a question or an answer in bytes: a greeting, a nonce, a name of at most 253.
	maxMessage = 512
)

// ask makes a question that nobody has asked before, so that an answer to it cannot be an old one.
func ask() string { return greeting + rand.Text() + "\n" }

// answer is what a server of this name says to a question; empty to what is none. It is as long as question and
// name together: a forged sender's address makes no flood of it.
func answer(question []byte, name string) string {
	line, whole := bytes.CutSuffix(question, []byte("\n"))
	nonce, ours := bytes.CutPrefix(line, []byte(greeting))
	if !whole || !ours || len(nonce) == 0 || bytes.ContainsAny(nonce, " \n") {
		return ""
	}
	return greeting + string(nonce) + " " + name + "\n"
}

// answered tells who answered the question.
func answered(question, answer string) (name string, ok bool) {
	name, ok = strings.CutPrefix(answer, strings.TrimSuffix(question, "\n")+" ")
	if !ok || !strings.HasSuffix(name, "\n") {
		return "", false
	}
	return strings.TrimSuffix(name, "\n"), true
}
