package dsl

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

var (
	startsWithFunc  = testFunc(strings.HasPrefix)
	endsWithFunc    = testFunc(strings.HasSuffix)
	strContainsFunc = testFunc(strings.Contains)

	urlEncodeFunc    = textFunc(func(s string) (string, error) { return url.QueryEscape(s), nil })
	base64EncodeFunc = textFunc(func(s string) (string, error) { return base64Text([]byte(s)) })
	base64DecodeFunc = textFunc(func(s string) (string, error) {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return "", errors.New("the text is not base64")
		}
		return plainText(b)
	})

	baseNameFunc = textFunc(func(s string) (string, error) { return filepath.Base(s), nil })
	dirNameFunc  = textFunc(func(s string) (string, error) { return filepath.Dir(s), nil })
	absPathFunc  = textFunc(func(s string) (string, error) {
		p, err := filepath.Abs(s)
		return filepath.ToSlash(p), err
	})
	pathExpandFunc = textFunc(func(s string) (string, error) {
		if !strings.HasPrefix(s, "~") {
			return s, nil
		}
		if s != "~" && !strings.HasPrefix(s, "~/") {
			return "", errors.New("the home folder of another user cannot be found: only ~ and ~/… are expanded")
		}
		home, err := os.UserHomeDir()
		return filepath.Join(home, strings.TrimPrefix(s, "~")), err
	})
)

func hexText(b []byte) (string, error) { return hex.EncodeToString(b), nil }

func base64Text(b []byte) (string, error) { return base64.StdEncoding.EncodeToString(b), nil }

func plainText(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", errors.New("the bytes are not text in UTF-8")
	}
	return string(b), nil
}

func hashFunc(h func() hash.Hash, text func([]byte) (string, error)) function.Function {
	f := hashed(h, text)
	return textFunc(func(s string) (string, error) { return f([]byte(s)) })
}

var timeCmpFunc = pure(cty.Number, func(args []cty.Value) (cty.Value, error) {
	var at [2]time.Time
	for i, a := range args {
		t, err := time.Parse(time.RFC3339, a.AsString())
		if err != nil {
			return cty.NilVal, function.NewArgErrorf(i, "%q is not a time such as 2017-11-22T00:00:00Z", a.AsString())
		}
		at[i] = t
	}
	return cty.NumberIntVal(int64(at[0].Compare(at[1]))), nil
}, param("a", cty.String), param("b", cty.String))

// replaceFunc replaces a text, or the matches of a regular expression between slashes.
var replaceFunc = pure(cty.String, func(args []cty.Value) (cty.Value, error) {
	text, what, by := args[0].AsString(), args[1].AsString(), args[2].AsString()
	if pattern, ok := slashed(what); ok {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return cty.NilVal, function.NewArgError(1, err)
		}
		return cty.StringVal(re.ReplaceAllString(text, by)), nil
	}
	return cty.StringVal(strings.ReplaceAll(text, what, by)), nil
}, param("text", cty.String), param("substring", cty.String), param("replacement", cty.String))

// slashed returns the regular expression between slashes; ok is false if there are none.
func slashed(s string) (pattern string, ok bool) {
	if len(s) > 1 && s[0] == '/' && s[len(s)-1] == '/' {
		return s[1 : len(s)-1], true
	}
	return "", false
}

// hashed returns a function from bytes to their hash, as text writes it.
func hashed(h func() hash.Hash, text func([]byte) (string, error)) func([]byte) (string, error) {
	return func(b []byte) (string, error) {
		x := h()
		x.Write(b)
		return text(x.Sum(nil))
	}
}
