// Package lsp is a language server for pipelines: it tells an editor, over the Language Server Protocol, what is wrong
// in them, what a name means and where it is declared, and what may be written at a place.
//
// In: messages of an editor, among them the texts that it shows, saved or not. Out: answers, and diagnostics. What is
// wrong is what stepflow validate says, of the texts in the editor (check.go). All else must also work while somebody
// is typing, when a file does not parse: it goes by the outline of a file (outline.go), which is made of its tokens,
// and by the names in it (names.go). Start with the table of methods (server.go).
package lsp
