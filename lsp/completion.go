package lsp

import (
	"fmt"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/dsl/addr"
)

// completionList is what may be written at a place.
type completionList struct {
	IsIncomplete bool             `json:"isIncomplete"`
	Items        []CompletionItem `json:"items"`
}

// completer lists what may be written at a cursor.
type completer struct {
	*session
	*cursor
	items   []CompletionItem
	replace span // what is typed of it
}

// completion lists what may be written at a place.
func (s *session) completion(p positionParams) (*completionList, error) {
	c, err := s.cursor(p)
	if err != nil || c == nil {
		return &completionList{Items: []CompletionItem{}}, err
	}
	x := &completer{session: s, cursor: c, items: []CompletionItem{}, replace: c.word}
	x.complete()
	return &completionList{Items: x.items}, nil
}

// complete looks at what the text before the cursor ends with.
func (c *completer) complete() {
	switch last := c.before.last; {
	case last == nil, last.name.end == c.at && !last.equals && len(last.labels) == 0:
		c.names()
	case last.equals:
		c.values()
	case last.name.end < c.at:
		c.labels(last)
	}
}

// Ranks order what may be written: what is probable comes first.
const (
	first = iota
	second
	third
	fourth
	fifth
)

// add adds something that may be written. insert may have places to fill in, if the editor can do that.
func (c *completer) add(rank int, item CompletionItem, insert string) {
	item.SortText = fmt.Sprintf("%d%s", rank, item.Label)
	item.TextEdit = &TextEdit{c.rangeOf(c.part, c.replace), insert}
	if c.snippets && strings.ContainsRune(insert, '$') {
		item.InsertTextFormat = snippetFormat
	}
	c.items = append(c.items, item)
}

// names lists the attributes and blocks that may begin here.
func (c *completer) names() {
	switch {
	case c.isValues(), len(c.path) > 0 && c.path[len(c.path)-1].Type == "variables":
		c.settings()
		return
	case len(c.path) == 0 && !c.isTest():
		for _, k := range dsl.TopLevel() {
			c.add(first, CompletionItem{Label: k.Name, Kind: itemStruct, Detail: k.Form(), Documentation: markdown(k.Doc)},
				c.block(k.Name, dsl.LabelsOf(nil, dsl.Head{Type: k.Name}), !k.NoLabel && k.Labels == "", k.Attrs, k.Types))
		}
		return
	}
	body := c.bodyOf(c.path)
	if len(c.path) == 1 && c.path[0].Type == "module" {
		c.inputs(&body)
	}
	for _, a := range body.Attrs {
		if c.has(a.Name) {
			continue
		}
		rank := second
		if a.Required {
			rank = first
		}
		c.add(rank, CompletionItem{Label: a.Name, Kind: itemProperty, Detail: a.Summary(),
			Documentation: markdown(a.Describe())}, c.attribute(a))
	}
	for _, n := range body.Blocks {
		if !n.Repeat && c.has(n.Name) {
			continue
		}
		rank := third
		if n.Required {
			rank = first
		}
		c.add(rank, CompletionItem{Label: n.Name, Kind: itemStruct, Detail: n.Form(), Documentation: markdown(n.Doc)},
			c.block(n.Name, n.Label, n.Named, n.Attrs, nil))
	}
}

// inputs takes the place of the inputs in the table for the variables of the module itself.
func (c *completer) inputs(body *dsl.Body) {
	body.Attrs = slices.DeleteFunc(body.Attrs, func(a dsl.Attr) bool { return a.Name == "INPUT" })
	dir := c.moduleDir(c.dir(), append(c.path[0].Labels, "")[0])
	if dir == "" {
		return
	}
	for _, d := range c.ofKind(dir, "var") {
		rank := first
		if slices.ContainsFunc(d.block.items, func(x *item) bool { return d.part.text(x.name) == "default" }) {
			rank = second
		}
		c.setting(rank, &d)
	}
}

// settings lists the variables that a file of values does not set.
func (c *completer) settings() {
	for _, d := range c.ofKind(c.dir(), "var") {
		c.setting(first, &d)
	}
}

// setting adds a variable that may be set here, if it is not set already.
func (c *completer) setting(rank int, d *place) {
	if !c.has(d.addr.Name) {
		c.add(rank, CompletionItem{Label: d.addr.Name, Kind: itemVariable, Documentation: markdown(excerpt(d))},
			c.follow(d.addr.Name, " = ", "="))
	}
}

// labels lists what a label of a block may be: its type.
func (c *completer) labels(x *item) {
	h := heads(c.before, []*item{x})[0]
	if c.before.quote {
		h.Labels = h.Labels[:len(h.Labels)-1]
		c.replace = span{x.labels[len(x.labels)-1].start, c.at}
	}
	if c.isTest() {
		return // labels are names there, or types of data
	}
	for _, t := range dsl.LabelsOf(c.path, h) {
		insert := t
		if !c.before.quote {
			insert = `"` + t + `"`
		}
		c.add(first, CompletionItem{Label: t, Kind: itemType, FilterText: insert}, insert)
	}
}

// values lists what the value of an attribute may be, or go on with.
func (c *completer) values() {
	v, row := c.value(), c.row()
	switch {
	case v.quoted():
		if row != nil && len(v.open) == 1 {
			c.replace = span{v.tokens[v.open[0]].end, c.at}
			c.oneOf(row, "")
		}
	case v.after:
		c.members(v.chain)
	default:
		if row != nil && v.listed() {
			c.expected(row)
		}
		c.expression(row, v)
	}
}

// oneOf lists the texts that an attribute takes, in quotes.
func (c *completer) oneOf(row *dsl.Attr, quote string) {
	for i, text := range row.OneOf {
		text = quote + text + quote
		c.add(first, CompletionItem{Label: text, Kind: itemValue}, text)
		c.items[len(c.items)-1].SortText = fmt.Sprintf("%d%03d", first, i)
	}
}

// typeWords begin the types of variables.
var typeWords = []string{"any", "bool", "number", "string", "list($0)", "map($0)", "object({ $0 })", "set($0)",
	"tuple([$0])"}

// expected lists the values that an attribute takes in particular.
func (c *completer) expected(row *dsl.Attr) {
	quote := `"`
	if isWord(*row) {
		quote = ""
	}
	c.oneOf(row, quote)
	switch {
	case row.IsBool():
		c.words(first, "true", "false")
	case row.Name == "ignore_changes":
		c.words(first, "all")
		c.words(second, dsl.IgnorableNames(c.path[0])...)
	case row.Name == "type" && c.path[0].Type == "variable":
		for _, w := range typeWords {
			if !c.snippets {
				w, _, _ = strings.Cut(w, "$")
			}
			label, _, _ := strings.Cut(w, "(")
			c.add(first, CompletionItem{Label: label, Kind: itemType}, w)
		}
	}
}

// words lists words as they are.
func (c *completer) words(rank int, list ...string) {
	for _, w := range list {
		c.add(rank, CompletionItem{Label: w, Kind: itemKeyword}, w)
	}
}

// static are the attributes that are read and not evaluated: they take names of blocks, of attributes or of types.
var static = []string{"depends_on", "replace_triggered_by", "ignore_changes"}

// expression lists the names with which an expression may begin.
func (c *completer) expression(row *dsl.Attr, v *value) {
	var wanted []string
	blocksOnly := false
	if row != nil {
		blocksOnly = row.Address || slices.Contains(static, row.Name)
		if v.listed() {
			wanted = row.Ref
		}
		if row.Name == "ignore_changes" || row.Name == "type" && c.path[0].Type == "variable" {
			return
		}
	}
	c.declarations(wanted, blocksOnly)
	if blocksOnly {
		return
	}
	c.words(third, c.builtIns()...)
	c.words(fifth, "true", "false", "null")
	for _, f := range dsl.FunctionNames() {
		s := dsl.SignatureOf(f)
		insert := f + "($0)"
		if !c.snippets {
			insert = f + "("
		}
		c.add(fourth, CompletionItem{Label: f, Kind: itemFunction, Detail: s.String(), Documentation: markdown(s.Doc)},
			insert)
	}
}

// declarations lists what is declared in the folder, first the kinds of blocks that are wanted.
func (c *completer) declarations(wanted []string, blocksOnly bool) {
	for _, d := range c.session.names(c.dir(), func(n *name) bool { return n.declared }) {
		a := d.addr
		rank, kind := third, itemStruct
		switch {
		case a.Kind == "output" && !c.isTest(), a.Kind == "check",
			blocksOnly && dsl.KindOf(a.Kind) == nil && a.Kind != "module":
			continue
		case slices.Contains(wanted, a.Kind):
			rank = first
		case a.Kind == "var" || a.Kind == "local":
			rank, kind = second, itemVariable
		}
		if d.file.path == c.spot.file.path && d.part.start == c.part.start && d.whole.holds(c.at) {
			continue // itself
		}
		c.add(rank, CompletionItem{Label: a.String(), Kind: kind, Detail: d.place()}, a.String())
	}
}

// builtIns lists the names that nobody declares and that have a value here.
func (c *completer) builtIns() (names []string) {
	var outermost []*item
	if len(c.blocks) > 0 && len(c.path) > 0 {
		outermost = c.blocks[0].items
	}
	for _, b := range builtIn {
		if b.needs == "" || slices.ContainsFunc(outermost, func(x *item) bool { return c.part.text(x.name) == b.needs }) {
			names = append(names, b.name)
		}
	}
	for _, h := range c.path {
		if h.Type == "dynamic" && len(h.Labels) > 0 {
			names = append(names, h.Labels[0]+".key", h.Labels[0]+".value")
		}
	}
	return names
}

// members lists what may follow the dot after names.
func (c *completer) members(chain []string) {
	if len(chain) == 0 {
		return
	}
	root := chain[0]
	typed, isRoot := roots[root]
	isRoot = isRoot && (root != "output" || c.isTest())
	switch n := len(chain); {
	case n == 1 && root == "self" && len(c.path) > 0:
		c.exports(addr.Addr{Kind: c.path[0].Type, Type: append(c.path[0].Labels, "")[0]})
	case !isRoot && n == 1:
		for _, name := range c.builtIns() {
			if member, ok := strings.CutPrefix(name, root+"."); ok {
				c.words(first, member)
			}
		}
	case !isRoot:
	case typed && n == 1:
		c.types(root)
	case n == 1 || typed && n == 2:
		c.declaredNames(chain)
	case typed && n == 3:
		c.exports(addr.Addr{Kind: root, Type: chain[1], Name: chain[2]})
	case root == "module" && n == 2:
		c.outputs(chain[1])
	case !typed && n == 2:
		c.exports(addr.Addr{Kind: root, Name: chain[1]})
	}
}

// types lists the types of the blocks of a kind that are declared.
func (c *completer) types(kind string) {
	var types []string
	for _, d := range c.ofKind(c.dir(), kind) {
		types = append(types, d.addr.Type)
	}
	slices.Sort(types)
	for _, t := range slices.Compact(types) {
		c.add(first, CompletionItem{Label: t, Kind: itemType}, t)
	}
}

// declaredNames lists the names that are declared, of a kind and a type.
func (c *completer) declaredNames(chain []string) {
	typ := ""
	if len(chain) == 2 {
		typ = chain[1]
	}
	for _, d := range c.ofKind(c.dir(), chain[0]) {
		if d.addr.Type == typ {
			c.add(first, CompletionItem{Label: d.addr.Name, Kind: itemVariable, Detail: d.place()}, d.addr.Name)
		}
	}
}

// outputs lists the outputs of a module.
func (c *completer) outputs(module string) {
	dir := c.moduleDir(c.dir(), module)
	if dir == "" {
		return
	}
	for _, d := range c.ofKind(dir, "output") {
		c.add(first, CompletionItem{Label: d.addr.Name, Kind: itemProperty, Detail: d.place()}, d.addr.Name)
	}
}

// exports lists the values that a block offers.
func (c *completer) exports(a addr.Addr) {
	k := dsl.KindOf(a.Kind)
	if k == nil {
		return
	}
	for _, e := range k.Offered(a.Type) {
		rank := first
		if e.Name == "address" {
			rank = second
		}
		c.add(rank, CompletionItem{Label: e.Name, Kind: itemProperty, Detail: e.Summary(), Documentation: markdown(e.Doc)},
			e.Name)
	}
}
