package lsp

import "bytes"

// split cuts a text where blocks begin that lie in no other, so that a change is read again in its part alone, and that
// a bracket or a quote that is missing in one block does not hide the next. Such a block begins at the start of a line;
// what is inside of others is indented. It returns where the parts start.
func split(src []byte) []int {
	starts := []int{0}
	s := splitter{src: src}
	for s.at < len(src) {
		if s.at > 0 && beginsBlock(src[s.at:]) {
			starts = append(starts, s.at)
		}
		s.line()
	}
	return starts
}

// splitter passes over lines, and over comments and heredocs that are longer than a line.
type splitter struct {
	src []byte
	at  int
}

// line passes over a line, with what begins in it.
func (s *splitter) line() {
	for s.at < len(s.src) {
		rest := s.src[s.at:]
		switch {
		case rest[0] == '\n':
			s.at++
			return
		case rest[0] == '#', bytes.HasPrefix(rest, []byte("//")):
			s.skipTo("\n", 0)
			return
		case bytes.HasPrefix(rest, []byte("/*")):
			s.skipTo("*/", 2)
		case bytes.HasPrefix(rest, []byte("<<")):
			s.heredoc()
			return
		case rest[0] == '"':
			s.quoted()
		default:
			s.at++
		}
	}
}

// skipTo passes over the next end, which starts not before from. If there is none, nothing but the line is passed.
func (s *splitter) skipTo(end string, from int) {
	i := bytes.Index(s.src[s.at+from:], []byte(end))
	if i < 0 {
		s.at += len(s.rest())
		return
	}
	s.at += from + i + len(end)
}

// rest returns the rest of the line.
func (s *splitter) rest() []byte {
	line, _, _ := bytes.Cut(s.src[s.at:], []byte("\n"))
	return line
}

// quoted passes over a text in quotes, at most to the end of its line.
func (s *splitter) quoted() {
	for s.at++; s.at < len(s.src) && s.src[s.at] != '\n'; s.at++ {
		switch s.src[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return
		}
	}
}

// heredoc passes over a heredoc, if one begins here and has an end; else over the line.
func (s *splitter) heredoc() {
	line := s.rest()
	marker := bytes.TrimSpace(bytes.TrimPrefix(line[2:], []byte("-")))
	s.at = min(s.at+len(line)+1, len(s.src))
	if len(marker) == 0 || !isIdent(marker) {
		return
	}
	for at := s.at; at < len(s.src); {
		l, _, _ := bytes.Cut(s.src[at:], []byte("\n"))
		at = min(at+len(l)+1, len(s.src))
		if bytes.Equal(bytes.TrimSpace(l), marker) {
			s.at = at
			return
		}
	}
}

// beginsBlock reports whether a line is the start of a block: a name, labels and a bracket.
func beginsBlock(line []byte) bool {
	line, _, _ = bytes.Cut(line, []byte("\n"))
	word, line := cutIdent(line)
	if len(word) == 0 {
		return false
	}
	for {
		line = bytes.TrimLeft(line, " \t\r")
		switch {
		case len(line) == 0:
			return false
		case line[0] == '{':
			return true
		case line[0] == '"':
			end := bytes.IndexByte(line[1:], '"')
			if end < 0 {
				return false
			}
			line = line[end+2:]
		default:
			if word, line = cutIdent(line); len(word) == 0 {
				return false
			}
		}
	}
}

// cutIdent cuts the name off with which a line starts.
func cutIdent(line []byte) (word, rest []byte) {
	i := 0
	for i < len(line) && (isLetter(line[i]) || i > 0 && isInName(line[i])) {
		i++
	}
	return line[:i], line[i:]
}

// isIdent reports whether a text is a name.
func isIdent(text []byte) bool {
	word, rest := cutIdent(text)
	return len(word) > 0 && len(rest) == 0
}

// isLetter reports whether a byte may begin a name. Letters that are not ASCII have several bytes, and each may.
func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

// isInName reports whether a byte may be in a name, behind its first letter.
func isInName(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' || c == '-' }
