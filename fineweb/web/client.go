package web

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"stepflow/foreign"
)

// Client opens files. Zero fields mean their defaults; a client is safe for concurrent use.
type Client struct {
	HTTP    *http.Client
	Timeout time.Duration // of one request with its body; 60 s
	Budget  time.Duration // of one range with all its retries; 5 min
	Backoff time.Duration // before the first retry, then doubled up to 100 times it; 200 ms
	Disk    *Disk         // where blocks are kept beyond a run; nil for nowhere
}

// Auth puts credentials on a request, each time it is sent. It may be nil. What it sets does not go to another
// origin (scheme, host and port) that the server redirects to, nor on from there.
type Auth func(*http.Request) error

// ErrUnreachable says that a server did not answer, or only with errors of its own.
var ErrUnreachable = errors.New("the server cannot be reached")

// ErrDenied says that a server wants credentials, other ones, or does not show that a file is there.
var ErrDenied = errors.New("the file needs credentials, or is not there")

// mostAnswer bounds an answer that is read whole, in bytes.
const mostAnswer = 64 << 20

// Get reads a small answer whole, with its header. When ctx ends, so do the request and the waiting for the next.
func (c *Client) Get(
	ctx context.Context, address string, auth Auth,
) (body []byte, answer http.Header, err error) {
	u, err := parse(address)
	if err != nil {
		return nil, nil, err
	}
	err = c.retry(ctx, u, "", func() (time.Duration, error) {
		r, done, after, err := c.ask(ctx, u, nil, auth)
		if err != nil {
			return after, err
		}
		defer done()
		if r.StatusCode != http.StatusOK {
			return 0, permanent{answered(r)}
		}
		answer = r.Header
		if body, err = io.ReadAll(io.LimitReader(r.Body, mostAnswer+1)); len(body) > mostAnswer {
			return 0, permanent{fmt.Errorf("the answer has more than %d bytes", mostAnswer)}
		}
		return 0, err
	})
	return body, answer, err
}

func parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is not an address", Show(address))
	}
	return u, nil
}

// retry calls f until it succeeds, the budget is spent, calling again is of no use, or ctx ends. part says what of the
// address is asked for, if not the whole.
func (c *Client) retry(
	ctx context.Context, u *url.URL, part string, f func() (after time.Duration, err error),
) error {
	budget, wait := or(c.Budget, 5*time.Minute), or(c.Backoff, 200*time.Millisecond)
	longest := 100 * wait
	start, contradicted := time.Now(), 0
	for try := 1; ; try++ {
		after, err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", show(u), ctx.Err())
		}
		var final permanent
		if errors.As(err, &final) {
			return fmt.Errorf("%s: %w", show(u), final.error)
		}
		var against contradiction
		if errors.As(err, &against) {
			if contradicted++; contradicted == mostContradictions {
				return fmt.Errorf("%s: %w, %d times", show(u), against.error, contradicted)
			}
		} else {
			contradicted = 0
		}
		// Exponential, with jitter so that clients do not come back together; longer where the server says so.
		pause := max(after, wait/2+rand.N(wait))
		if contradicted == 0 {
			wait = min(2*wait, longest)
		}
		if pause > budget-time.Since(start) { // the sum might overflow
			if part != "" {
				part += ": "
			}
			return fmt.Errorf("%s: %s%w: %w; asked %d times in %s",
				show(u), part, ErrUnreachable, err, try, time.Since(start).Round(time.Millisecond))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", show(u), ctx.Err())
		}
	}
}

func or(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// permanent is an error that asking again does not cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// contradiction is an answer that is not the one to the question. A proxy may once give that of another; a server that
// does it each time always will.
type contradiction struct{ error }

func (c contradiction) Unwrap() error { return c.error }

// mostContradictions are taken in a row.
const mostContradictions = 6

// ask sends a request once. Answers that mean "later" are errors; done ends the reading of others. after is
// how long the server wants to be left alone.
func (c *Client) ask(
	ctx context.Context, u *url.URL, header http.Header, auth Auth,
) (r *http.Response, done func(), after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, or(c.Timeout, time.Minute))
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, 0, permanent{err}
	}
	if header != nil {
		q.Header = header.Clone()
	}
	if auth != nil {
		if err := auth(q); err != nil {
			return nil, nil, 0, permanent{fmt.Errorf("credentials: %w", err)}
		}
	}
	h := http.Client{}
	if c.HTTP != nil {
		h = *c.HTTP
	}
	h.CheckRedirect = redirect
	if r, err = h.Do(q); err != nil {
		var u *url.Error // its text holds the address, with what may be secret in it
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, nil, 0, err
	}
	done = func() {
		r.Body.Close()
		cancel()
	}
	switch code := r.StatusCode; {
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		after, err = retryAfter(r.Header.Get("Retry-After")), answered(r)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		err = permanent{fmt.Errorf("%w: %w", answered(r), ErrDenied)}
	}
	if err != nil {
		r.Body.Close()
	}
	return r, done, after, err
}

// ours are the headers of a request that say nothing about who asks.
var ours = map[string]bool{"Range": true, "Accept-Encoding": true, "If-Match": true, "If-Unmodified-Since": true,
	"User-Agent": true}

// mostRedirects are followed for one request.
const mostRedirects = 10

// redirect lets a request be sent on. To another origin than all before go only the headers that are ours: what else is
// there may be a credential, whatever its name. No Referer goes anywhere: it holds the address, of which the query may
// be a key.
func redirect(q *http.Request, via []*http.Request) error {
	if len(via) > mostRedirects {
		return permanent{fmt.Errorf("the server redirects more than %d times", mostRedirects)}
	}
	q.Header.Del("Referer")
	for _, before := range via {
		if origin(before.URL) != origin(q.URL) {
			q.Host = ""
			for name := range q.Header {
				if !ours[name] {
					delete(q.Header, name)
				}
			}
			return nil
		}
	}
	return nil
}

// origin is the scheme, host and port of an address, in one spelling.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) + ":" + port
}

// answered is an answer that is of no use, with the first of what the server says about it. Servers repeat what they
// were asked: keys of the request are left out.
func answered(r *http.Response) error {
	const most = 200
	said, _ := io.ReadAll(io.LimitReader(r.Body, 8<<10))
	hide := keys(r.Request)
	status := foreign.Shown(hide.Replace(r.Status))
	text := strings.Join(strings.Fields(hide.Replace(strings.ToValidUTF8(string(said), ""))), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	if text != "" {
		return fmt.Errorf("the server answers %s: %s", status, foreign.Shown(text))
	}
	return fmt.Errorf("the server answers %s", status)
}

// keys replaces what lets somebody in of a request: its password, its headers of that kind and its query.
func keys(q *http.Request) *strings.Replacer {
	const hidden, least = "…", 4 // shorter ones are no keys, and stand in many words
	var pairs []string
	add := func(s string) {
		for _, x := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			if len(x) >= least {
				pairs = append(pairs, x, hidden)
			}
		}
	}
	if q == nil {
		return strings.NewReplacer()
	}
	for _, name := range []string{"Authorization", "X-Amz-Security-Token", "Cookie"} {
		for _, v := range q.Header.Values(name) {
			add(v)
			add(v[strings.LastIndexByte(v, ' ')+1:])
		}
	}
	if password, ok := q.URL.User.Password(); ok {
		add(password)
		add(base64.StdEncoding.EncodeToString([]byte(q.URL.User.Username() + ":" + password)))
	}
	for k, values := range q.URL.Query() {
		if !harmless[k] {
			for _, v := range values {
				add(v)
			}
		}
	}
	return strings.NewReplacer(pairs...)
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(s string) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(n, 1<<32)) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return time.Until(t)
	}
	return 0
}
