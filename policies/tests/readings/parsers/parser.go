// One target a line; for each a line of what Go makes of its path, as `d:HEX` (decoded) or `r:HEX` (not decoded).
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"strings"
)

func item(kind, text string) string {
	return kind + ":" + hex.EncodeToString([]byte(text))
}

func main() {
	mux := http.NewServeMux()
	served := ""
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { served = r.URL.Path })
	in := bufio.NewReaderSize(os.Stdin, 1<<16)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		target := strings.TrimSuffix(line, "\n")
		items := []string{}
		if parsed, err := url.ParseRequestURI(target); err == nil {
			items = append(items, item("d", parsed.Path), item("r", parsed.EscapedPath()), item("d", path.Clean(parsed.Path)))
			items = append(items, item("r", path.Clean(parsed.EscapedPath())))
			served = ""
			recorder := httptest.NewRecorder()
			mux.ServeHTTP(recorder, &http.Request{Method: "GET", URL: parsed, Host: "host.example", RequestURI: target})
			if served != "" {
				items = append(items, item("d", served))
			} else if moved, err := url.Parse(recorder.Header().Get("Location")); err == nil && recorder.Code == 301 {
				items = append(items, item("d", moved.Path))
			}
		}
		if parsed, err := url.Parse(target); err == nil && parsed.Path != "" {
			items = append(items, item("d", parsed.Path))
			base, _ := url.Parse("http://host.example/")
			items = append(items, item("d", base.ResolveReference(parsed).Path))
		}
		fmt.Fprintln(out, strings.Join(items, " "))
	}
}
