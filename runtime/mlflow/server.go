// Package mlflow shows the runs of a pipeline in MLflow, through the REST API of a tracking server. It reads what a run
// writes into its state's folder and compares it with what the server has, so a run never waits for it, and whatever did
// not arrive is sent by the next apply.
package mlflow

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// The variables of MLflow's own clients.
const (
	addressVariable      = "MLFLOW_TRACKING_URI"
	userVariable         = "MLFLOW_TRACKING_USERNAME"
	passwordVariable     = "MLFLOW_TRACKING_PASSWORD"
	tokenVariable        = "MLFLOW_TRACKING_TOKEN"
	insecureVariable     = "MLFLOW_TRACKING_INSECURE_TLS"
	serverCertVariable   = "MLFLOW_TRACKING_SERVER_CERT_PATH"
	clientCertVariable   = "MLFLOW_TRACKING_CLIENT_CERT_PATH"
	experimentVariable   = "MLFLOW_EXPERIMENT_NAME"
	experimentIDVariable = "MLFLOW_EXPERIMENT_ID"
	runVariable          = "MLFLOW_RUN_ID"
	offVariable          = "DISABLE_MLFLOW_INTEGRATION" // of Hugging Face's trainers
)

// Server is a tracking server, and where a run is to appear in it.
type Server struct {
	base           string // of addresses; without credentials
	user, password string
	token          string
	http           http.Client

	experiment   string // name; "" for the pipeline's
	experimentID string // "" to go by name
	run          string // id of the run that stands for the pipeline; "" to make one
}

// FromEnvironment returns the server that MLflow's variables name, nil for none. An error says why what they name cannot
// be used.
func FromEnvironment(getenv func(string) string) (*Server, error) {
	address := strings.TrimSpace(getenv(addressVariable))
	if address == "" || truth(getenv(offVariable)) {
		return nil, nil
	}
	scheme, _, _ := strings.Cut(strings.ToLower(address), "://")
	u, err := url.Parse(address)
	switch isHTTP := scheme == "http" || scheme == "https"; {
	case isHTTP && (err != nil || u.Hostname() == ""):
		return nil, fmt.Errorf("%s is %q, which is no address: it is written as http://HOST:PORT, and special characters of "+
			"a password as %%40 or in %s", addressVariable, shownAddress(address), passwordVariable)
	case !isHTTP:
		return nil, fmt.Errorf("%s is %q, and stepflow sends to an MLflow server alone, by http:// or https://. For what "+
			"lies in a folder or a database, start one with mlflow server --backend-store-uri. %s=true says that you "+
			"do not want this", addressVariable, shownAddress(address), offVariable)
	}
	s := &Server{user: getenv(userVariable), password: getenv(passwordVariable), token: getenv(tokenVariable),
		experiment: getenv(experimentVariable), experimentID: getenv(experimentIDVariable), run: getenv(runVariable)}
	if u.User != nil && s.user == "" {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	s.base = strings.TrimRight(u.String(), "/")
	s.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if s.http.Transport, err = transport(getenv); err != nil {
		return nil, err
	}
	return s, nil
}

func truth(s string) bool { return strings.EqualFold(s, "true") || s == "1" }

// shownAddress is what is no address of a server, as it may be shown. Of one that may have a password in it, also where
// it cannot be parsed, that is how it begins.
func shownAddress(address string) string {
	if strings.ContainsAny(address, "@?") {
		scheme, _, ok := strings.Cut(address, "://")
		if address = "…"; ok && !strings.ContainsAny(scheme, ":@?") {
			address = scheme + "://…"
		}
	}
	return foreign.ShownStart(address, 200)
}

// mostCert is how many bytes a file of certificates may have.
const mostCert = 16 << 20

// transport speaks TLS as the variables say.
func transport(getenv func(string) string) (http.RoundTripper, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.IdleConnTimeout = time.Second // servers of Python hang up after two to five, just when something is sent again
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: truth(getenv(insecureVariable))}
	if path := getenv(serverCertVariable); path != "" {
		pem, err := foreign.ReadFile(path, mostCert)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", serverCertVariable, err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %s holds no certificate", serverCertVariable, path)
		}
	}
	if path := getenv(clientCertVariable); path != "" {
		pem, err := foreign.ReadFile(path, mostCert)
		var pair tls.Certificate
		if err == nil {
			pair, err = tls.X509KeyPair(pem, pem)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", clientCertVariable, err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// String is the server's address.
func (s *Server) String() string { return s.base }

// refusal is an answer that asking again does not change.
type refusal struct {
	status int
	code   string // of MLflow
	text   string
}

func (r *refusal) Error() string { return r.text }

// Codes of errors that mean something else than that a request is wrong.
const (
	codeAbsent = "RESOURCE_DOES_NOT_EXIST"
	codeExists = "RESOURCE_ALREADY_EXISTS"
)

func hasCode(err error, code string) bool {
	var r *refusal
	return errors.As(err, &r) && r.code == code
}

// Bounds of a request: how long it may take, and how large its answer may be.
const (
	requestTime = 30 * time.Second
	mostAnswer  = 64 << 20
)

// ask sends a request of the REST API once.
func (s *Server) ask(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	address := s.base + "/api/2.0/mlflow/" + path
	if query != nil {
		address += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return &refusal{text: err.Error()}
		}
		content = bytes.NewReader(b)
	}
	q, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return &refusal{text: err.Error()}
	}
	q.Header.Set("Content-Type", "application/json")
	switch {
	case s.token != "" && s.user == "":
		q.Header.Set("Authorization", "Bearer "+s.token)
	case s.user != "":
		q.SetBasicAuth(s.user, s.password)
	}
	r, err := s.http.Do(q)
	if err != nil {
		var at *url.Error // whose text repeats the address
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Errorf("%w: %w", web.ErrUnreachable, err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, mostAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: its answer broke off: %w", web.ErrUnreachable, err)
	case len(b) > mostAnswer:
		return &refusal{text: fmt.Sprintf("its answer has more than %d bytes", mostAnswer)}
	case r.StatusCode != http.StatusOK:
		return s.refused(r, b)
	case json.Unmarshal(b, answer) != nil:
		return &refusal{text: "it answers, but not as an MLflow server does: look at " + addressVariable}
	}
	return nil
}

// refused is the error of an answer.
func (s *Server) refused(r *http.Response, body []byte) error {
	var said struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	isMLflow := json.Unmarshal(body, &said) == nil && said.Code != ""
	what := foreign.Shown(r.Status)
	if isMLflow {
		what += ": " + foreign.ShownStart(strings.TrimRight(s.hide(said.Message), ". \n"), 300) // a sentence goes on
	}
	switch code := r.StatusCode; {
	case code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500:
		return fmt.Errorf("it answers %s", what)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		what = fmt.Sprintf("it refuses the credentials (%s): set %s and %s, or %s", foreign.Shown(r.Status), userVariable,
			passwordVariable, tokenVariable)
	case code >= 300 && code < 400:
		what = fmt.Sprintf("it sends requests on to another address, which are not followed with credentials: set %s to "+
			"the address itself", addressVariable)
	case !isMLflow:
		what = fmt.Sprintf("it answers %s, and not as an MLflow server does: look at %s", what, addressVariable)
	default:
		what = "it answers " + what
	}
	return &refusal{r.StatusCode, said.Code, what}
}

// hide takes the credentials out of a text of the server.
func (s *Server) hide(text string) string {
	const least = 4                                                               // shorter ones are no keys, and stand in many words
	basic := base64.StdEncoding.EncodeToString([]byte(s.user + ":" + s.password)) // as requests have them
	for _, key := range []string{s.token, basic, s.password} {
		if len(key) >= least {
			text = strings.ReplaceAll(text, key, "…")
		}
	}
	return text
}
