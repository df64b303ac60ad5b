package fineweb

// A piece is what is read at a time: so many rows of a row group at most, and so many bytes of text, and of few data
// fewer, so that there are pieces to be put in order. Memory is bounded by the documents of a piece for each lane of
// the order, and a page and a dictionary a column. A document that is longer is a piece of its own.
const (
	pieceRows  = 512
	pieceBytes = 4 << 20
	leastRows  = 32
	manyPieces = 256
)

// cut bounds a piece: rows of a row group, tokens of a file of them.
type cut struct{ rows, tokens int64 }

// usual is how data are cut. A variable, since tests cut smaller pieces.
var usual = cut{pieceRows, pieceTokens}

// apart cuts row groups, of which each is one piece, into pieces of about the same size, which is what most says of it
// at most.
func apart(groups [][]piece, most func(piece) int64) [][]piece {
	number := 0
	for i := range groups {
		g := groups[i][0]
		rows := most(g)
		of := max(1, (g.rows+rows-1)/rows)
		groups[i] = nil
		for k := range of {
			groups[i] = append(groups[i], piece{g.file, g.group, number, k * g.rows / of,
				(k+1)*g.rows/of - k*g.rows/of})
			number++
		}
	}
	return groups
}

// upTo is the same for all.
func upTo(n int64) func(piece) int64 { return func(piece) int64 { return n } }

// piece is the part of a row group that is in memory at a time; number counts the corpus' pieces. Of a file of tokens
// the rows are tokens, and the documents those that begin among them.
type piece struct {
	file, group, number int
	from, rows          int64
}
