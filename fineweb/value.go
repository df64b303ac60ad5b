package fineweb

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// value is what a column or a field holds in one row. Numbers are compared by what they are worth, whatever type holds
// them.
type value struct {
	kind valueKind
	i    int64    // of an integer; 1 for true
	f    float64  // of a fraction
	n    *big.Int // of an integer beyond int64
	s    string   // of a text
}

type valueKind uint8

const (
	null valueKind = iota
	truth
	integer
	large // an integer beyond int64
	fraction
	words
	nested // a list or an object
)

var kindNames = map[valueKind]string{null: "null", truth: "true or false", integer: "a number", large: "a number",
	fraction: "a number", words: "text", nested: "a list or an object"}

func (v value) number() bool { return v.kind == integer || v.kind == large || v.kind == fraction }

// order compares two numbers; ok is false where one of them is not a number.
func order(a, b value) (c int, ok bool) {
	switch {
	case a.kind == fraction && math.IsNaN(a.f), b.kind == fraction && math.IsNaN(b.f):
		return 0, false
	case a.kind == integer && b.kind == integer:
		return compare(a.i, b.i), true
	case a.kind == fraction && b.kind == fraction:
		return compare(a.f, b.f), true
	}
	return a.exact().Cmp(b.exact()), true
}

// count is a number as a whole one that counts things: 0 if it cannot.
func (v value) count() int64 {
	switch {
	case v.kind == integer && v.i > 0:
		return v.i
	case v.kind == fraction && v.f > 0 && v.f < 1<<62:
		return int64(v.f)
	}
	return 0
}

func compare[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// exact is a number other than NaN, without rounding.
func (v value) exact() *big.Float {
	switch v.kind {
	case integer:
		return new(big.Float).SetInt64(v.i)
	case large:
		return new(big.Float).SetInt(v.n)
	}
	return new(big.Float).SetFloat64(v.f)
}

// maxDigits bounds the digits of an integer that is kept exactly.
const maxDigits = 400

// numberOf reads a number as JSON writes it.
func numberOf(s string) value {
	if !strings.ContainsAny(s, ".eE") {
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return value{kind: integer, i: i}
		}
		if len(s) <= maxDigits { // reading one takes the square of its length
			if n, ok := new(big.Int).SetString(s, 10); ok {
				return value{kind: large, n: n}
			}
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return value{}
	}
	return value{kind: fraction, f: f}
}

// plain is a value as a record has it.
func (v value) plain() any {
	switch v.kind {
	case truth:
		return v.i == 1
	case integer:
		return v.i
	case large:
		return v.n
	case fraction:
		return v.f
	case words:
		return v.s
	}
	return nil
}

// idText is the id that a value gives its document; "" if it gives none. A number has the same id in every type that
// can hold it: tools turn a column of integers into one of floats where a value is missing.
func (v value) idText() string {
	switch v.kind {
	case integer:
		return strconv.FormatInt(v.i, 10)
	case large:
		return v.n.String()
	case fraction:
		switch {
		case math.IsNaN(v.f) || math.IsInf(v.f, 0):
			return ""
		case v.f == math.Trunc(v.f):
			n, _ := v.exact().Int(nil)
			return n.String()
		}
		return strconv.FormatFloat(v.f, 'g', -1, 64)
	case words:
		if strings.TrimSpace(v.s) != "" {
			return v.s
		}
	}
	return ""
}

// columnType is the type of a parquet column: its name as pyarrow has it, the kind of its values, and how one is read.
type columnType struct {
	name string
	kind valueKind // truth, fraction for any number, words, or nested for what is none of them
	read func(v parquet.Value) value
}

// typeOf finds the type of a leaf of the schema, by its annotation or the older one of files that have no other.
func typeOf(e *format.SchemaElement) columnType {
	physical := e.Type.V
	is := func(c deprecated.ConvertedType) bool {
		return e.LogicalType.Value == nil && e.ConvertedType.Valid && e.ConvertedType.V == c
	}
	other := func(name string) columnType {
		return columnType{name, nested, func(parquet.Value) value { return value{kind: nested} }}
	}
	switch l := e.LogicalType.Value.(type) {
	case *format.DecimalType:
		return decimalType(physical, l.Precision, l.Scale)
	case *format.IntType:
		return intType(physical, int(l.BitWidth), l.IsSigned)
	case *format.Float16Type:
		return columnType{"float16", fraction,
			func(v parquet.Value) value { return value{kind: fraction, f: float16(v.ByteArray())} }}
	case *format.UUIDType:
		return columnType{"uuid", words,
			func(v parquet.Value) value { return value{kind: words, s: uuidText(v.ByteArray())} }}
	case *format.NullType:
		return columnType{"null", null, func(parquet.Value) value { return value{} }}
	case *format.DateType:
		return other("date")
	case *format.TimeType:
		return other("time")
	case *format.TimestampType:
		return other("timestamp")
	case nil, *format.StringType, *format.EnumType, *format.JsonType:
	default:
		return other(strings.ToLower(e.LogicalType.String()))
	}
	switch {
	case is(deprecated.Decimal):
		return decimalType(physical, e.Precision.V, e.Scale.V)
	case e.LogicalType.Value == nil && e.ConvertedType.Valid &&
		e.ConvertedType.V >= deprecated.Uint8 && e.ConvertedType.V <= deprecated.Int64:
		k := int(e.ConvertedType.V - deprecated.Uint8)
		return intType(physical, 8<<(k%4), k >= 4)
	case is(deprecated.Date):
		return other("date")
	case is(deprecated.TimeMillis), is(deprecated.TimeMicros):
		return other("time")
	case is(deprecated.TimestampMillis), is(deprecated.TimestampMicros):
		return other("timestamp")
	case is(deprecated.Bson), is(deprecated.Interval):
		return other("binary")
	}
	switch physical {
	case format.Boolean:
		return columnType{"bool", truth, func(v parquet.Value) value { return truthOf(v.Boolean()) }}
	case format.Int32, format.Int64:
		return intType(physical, map[format.Type]int{format.Int32: 32, format.Int64: 64}[physical], true)
	case format.Float:
		return columnType{"float", fraction,
			func(v parquet.Value) value { return value{kind: fraction, f: float64(v.Float())} }}
	case format.Double:
		return columnType{"double", fraction,
			func(v parquet.Value) value { return value{kind: fraction, f: v.Double()} }}
	case format.ByteArray, format.FixedLenByteArray:
		return columnType{"string", words,
			func(v parquet.Value) value { return value{kind: words, s: string(v.ByteArray())} }}
	}
	return other(strings.ToLower(physical.String()))
}

func truthOf(b bool) value {
	if b {
		return value{kind: truth, i: 1}
	}
	return value{kind: truth}
}

func intType(physical format.Type, bits int, signed bool) columnType {
	switch {
	case signed && physical == format.Int32:
		return columnType{fmt.Sprintf("int%d", bits), fraction,
			func(v parquet.Value) value { return value{kind: integer, i: int64(v.Int32())} }}
	case signed && physical == format.Int64:
		return columnType{fmt.Sprintf("int%d", bits), fraction,
			func(v parquet.Value) value { return value{kind: integer, i: v.Int64()} }}
	case physical == format.Int32:
		return columnType{fmt.Sprintf("uint%d", bits), fraction,
			func(v parquet.Value) value { return value{kind: integer, i: int64(v.Uint32())} }}
	}
	return columnType{fmt.Sprintf("uint%d", bits), fraction, func(v parquet.Value) value {
		if u := v.Uint64(); u > math.MaxInt64 {
			return value{kind: large, n: new(big.Int).SetUint64(u)}
		}
		return value{kind: integer, i: v.Int64()}
	}}
}

// decimalType reads unscaled integers: int32, int64, or big-endian two's complement. A whole number is exact, another
// the float64 nearest to it, as a number written in a filter is.
func decimalType(physical format.Type, precision, scale int32) columnType {
	name := fmt.Sprintf("decimal(%d, %d)", precision, scale)
	if scale < 0 || scale > maxDigits {
		return columnType{name, nested, func(parquet.Value) value { return value{kind: nested} }}
	}
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return columnType{name, fraction, func(v parquet.Value) value {
		var n *big.Int
		switch physical {
		case format.Int32:
			n = big.NewInt(int64(v.Int32()))
		case format.Int64:
			n = big.NewInt(v.Int64())
		default:
			b := v.ByteArray()
			if n = new(big.Int).SetBytes(b); len(b) > 0 && b[0] >= 0x80 {
				n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
			}
		}
		whole, rest := new(big.Int).QuoRem(n, ten, new(big.Int))
		switch {
		case rest.Sign() != 0:
			f, _ := new(big.Rat).SetFrac(n, ten).Float64()
			return value{kind: fraction, f: f}
		case whole.IsInt64():
			return value{kind: integer, i: whole.Int64()}
		}
		return value{kind: large, n: whole}
	}}
}

// float16 is IEEE 754's binary16, little-endian.
func float16(b []byte) float64 {
	if len(b) != 2 {
		return math.NaN()
	}
	h := uint16(b[0]) | uint16(b[1])<<8
	sign, exponent, mantissa := 1.0, int(h>>10&31), float64(h&1023)
	if h>>15 == 1 {
		sign = -1
	}
	switch exponent {
	case 0:
		return sign * math.Ldexp(mantissa, -24)
	case 31:
		if mantissa != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+mantissa, exponent-25)
}

func uuidText(b []byte) string {
	if len(b) != 16 {
		return string(b)
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// valueOf reads a JSON value, which is valid; a text may hold half of a surrogate pair.
func valueOf(raw []byte) (value, error) {
	if len(raw) == 0 {
		return value{}, nil
	}
	switch raw[0] {
	case 'n':
		return value{}, nil
	case 't', 'f':
		return truthOf(raw[0] == 't'), nil
	case '{', '[':
		return value{kind: nested}, nil
	case '"':
		if at := loneSurrogate(raw); at >= 0 {
			return value{}, fmt.Errorf("%w: it holds %s, half of a surrogate pair", errNotUTF8, raw[at:at+6])
		}
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return value{}, err
		}
		return value{kind: words, s: s}, nil
	}
	return numberOf(string(raw)), nil
}

// loneSurrogate finds an escape of half a surrogate pair in a JSON string, which decoders replace; -1 if there is none.
func loneSurrogate(raw []byte) int {
	unit := func(at int) int64 { // the UTF-16 unit that is escaped there
		if at+6 > len(raw) || raw[at] != '\\' || raw[at+1] != 'u' {
			return -1
		}
		u, err := strconv.ParseInt(string(raw[at+2:at+6]), 16, 32)
		if err != nil {
			return -1
		}
		return u
	}
	for at := 0; at < len(raw); at++ {
		if raw[at] != '\\' {
			continue
		}
		switch u := unit(at); {
		case u >= 0xd800 && u < 0xdc00:
			if low := unit(at + 6); low < 0xdc00 || low > 0xdfff {
				return at
			}
			at += 11
		case u >= 0xdc00 && u <= 0xdfff:
			return at
		default:
			at++ // the character that is escaped
		}
	}
	return -1
}
