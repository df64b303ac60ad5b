package dsl

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
)

// documented are examples of Terraform's documentation, and what it says of edges, with their results; "error: " and a part of the
// message where it gives none.
var documented = []struct{ expr, want string }{
	{`abs(23)`, `23`}, {`abs(0)`, `0`}, {`abs(-12.4)`, `12.4`},
	{`ceil(5)`, `5`}, {`ceil(5.1)`, `6`}, {`ceil(-5.1)`, `-5`}, {`floor(5)`, `5`}, {`floor(4.9)`, `4`}, {`floor(-4.1)`, `-5`},
	{`log(50, 10)`, `1.6989700043360185`}, {`log(16, 2)`, `4`}, {`ceil(log(15, 2))`, `4`}, {`ceil(log(16, 2))`, `4`}, {`ceil(log(17, 2))`, `5`},
	{`max(12, 54, 3)`, `54`}, {`max([12, 54, 3]...)`, `54`}, {`min(12, 54, 3)`, `3`}, {`min([12, 54, 3]...)`, `3`}, {`max()`, `error: at least one`},
	{`parseint("100", 10)`, `100`}, {`parseint("FF", 16)`, `255`}, {`parseint("-10", 2)`, `-2`}, {`parseint("1011111011101111", 2)`, `48879`},
	{`parseint("aA", 62)`, `656`}, {`parseint("12", 2)`, `error: cannot parse`},
	{`pow(3, 2)`, `9`}, {`pow(4, 0)`, `1`}, {`signum(-13)`, `-1`}, {`signum(0)`, `0`}, {`signum(344)`, `1`},
	{`sum([10, 13, 6, 4.5])`, `33.5`}, {`sum([])`, `error: empty`}, {`sum([1, null])`, `error: null`}, {`sum(toset([1, 2]))`, `3`}, {`sum(["1", 2])`, `3`},
	{`sum(["a"])`, `error: numbers`}, {`sum({ a = 1 })`, `error: list of numbers`}, {`sum([0.1, 0.2]) == 0.3`, `true`},

	{`chomp("hello\n")`, `"hello"`}, {`chomp("hello\r\n")`, `"hello"`}, {`chomp("hello\n\n")`, `"hello"`},
	{`startswith("hello world", "hello")`, `true`}, {`startswith("hello world", "world")`, `false`},
	{`endswith("hello world", "world")`, `true`}, {`endswith("hello world", "hello")`, `false`},
	{`strcontains("hello world", "wor")`, `true`}, {`strcontains("hello world", "wod")`, `false`},
	{`format("Hello, %s!", "Ander")`, `"Hello, Ander!"`}, {`format("There are %d lights", 4)`, `"There are 4 lights"`}, {`format("%#v", "hello")`, `"\"hello\""`},
	{`format("%#v", true)`, `"true"`}, {`format("%#v", { a = 1 })`, `"{\"a\":1}"`}, {`format("%v", 1.5)`, `"1.5"`}, {`format("%06d|%-5s|%5s|%x|%e", 42, "a", "b", 255, 1.5)`, `"000042|a    |    b|ff|1.500000e+00"`},
	{`format("%[2]s %[1]s", "a", "b")`, `"b a"`}, {`format("%d", 1.5)`, `error: integer`}, {`format("%s")`, `error: not enough`}, {`format("a", 1)`, `error: too many`}, {`format("%%")`, `"%"`},
	{`formatlist("Hello, %s!", ["Valentina", "Ander", "Olivia", "Sam"])`, `["Hello, Valentina!", "Hello, Ander!", "Hello, Olivia!", "Hello, Sam!"]`},
	{`formatlist("%s, %s!", "Salutations", ["Valentina", "Ander"])`, `["Salutations, Valentina!", "Salutations, Ander!"]`},
	{`indent(2, "[\n  foo,\n  bar,\n]\n")`, `"[\n    foo,\n    bar,\n  ]\n  "`},
	{`join("-", ["foo", "bar", "baz"])`, `"foo-bar-baz"`}, {`join(", ", ["foo"])`, `"foo"`}, {`join(", ", ["a", 1, true])`, `"a, 1, true"`}, {`join(",", ["a"], ["b"])`, `"a,b"`}, {`join(",", [])`, `""`},
	{`lower("HELLO")`, `"hello"`}, {`lower("АЛЛО!")`, `"алло!"`}, {`upper("hello")`, `"HELLO"`}, {`upper("алло!")`, `"АЛЛО!"`}, {`title("hello world")`, `"Hello World"`},
	{`regex("[a-z]+", "53453453.345345aaabbbccc23454")`, `"aaabbbccc"`}, {`regex("(\\d\\d\\d\\d)-(\\d\\d)-(\\d\\d)", "2019-02-01")`, `["2019", "02", "01"]`},
	{`regex("^(?:(?P<scheme>[^:/?#]+):)?(?://(?P<authority>[^/?#]*))?", "https://terraform.io/docs/")`, `{ authority = "terraform.io", scheme = "https" }`}, {`regex("[a-z]+", "53453453.34534523454")`, `error: did not match`},
	{`regexall("[a-z]+", "1234abcd5678efgh9")`, `["abcd", "efgh"]`}, {`length(regexall("[a-z]+", "1234abcd5678efgh9"))`, `2`}, {`length(regexall("[a-z]+", "123456789")) > 0`, `false`},
	{`replace("1 + 2 + 3", "+", "-")`, `"1 - 2 - 3"`}, {`replace("hello world", "/w.*d/", "everybody")`, `"hello everybody"`}, {`replace("run-001", "/[0-9]+/", "N")`, `"run-N"`},
	{`replace("John Smith", "/(\\w+) (\\w+)/", "$2, $1")`, `"Smith, John"`}, {`replace("a/b/c", "/", "-")`, `"a-b-c"`}, {`replace("a//b", "//", "-")`, `"-a-/-/-b-"`}, {`replace("a", "/[/", "")`, `error: missing closing`},
	{`split(",", "foo,bar,baz")`, `["foo", "bar", "baz"]`}, {`split(",", "foo")`, `["foo"]`}, {`split(",", "")`, `[""]`},
	{`strrev("hello")`, `"olleh"`}, {`strrev("a ☃")`, `"☃ a"`}, {`substr("hello world", 1, 4)`, `"ello"`}, {`substr("🤔🤷", 0, 1)`, `"🤔"`}, {`substr("hello world", -5, -1)`, `"world"`}, {`substr("hello world", 6, 10)`, `"world"`},
	{`trim("?!hello?!", "!?")`, `"hello"`}, {`trim("foobar", "far")`, `"oob"`}, {`trim("   hello! world.!  ", "! ")`, `"hello! world."`},
	{`trimprefix("helloworld", "hello")`, `"world"`}, {`trimprefix("helloworld", "cat")`, `"helloworld"`}, {`trimprefix("--hello", "-")`, `"-hello"`}, {`trimsuffix("helloworld", "world")`, `"hello"`}, {`trimspace("  hello\n\n")`, `"hello"`},

	{`alltrue(["true", true])`, `true`}, {`alltrue([true, false])`, `false`}, {`alltrue([])`, `true`}, {`alltrue([true, null])`, `false`},
	{`anytrue(["true"])`, `true`}, {`anytrue([true])`, `true`}, {`anytrue([true, false])`, `true`}, {`anytrue([])`, `false`}, {`anytrue([null, false])`, `false`},
	{`chunklist(["a", "b", "c", "d", "e"], 2)`, `[["a", "b"], ["c", "d"], ["e"]]`}, {`chunklist(["a", "b", "c", "d", "e"], 1)`, `[["a"], ["b"], ["c"], ["d"], ["e"]]`},
	{`coalesce("a", "b")`, `"a"`}, {`coalesce("", "b")`, `"b"`}, {`coalesce(1, 2)`, `1`}, {`coalesce(["", "b"]...)`, `"b"`}, {`coalesce(1, "hello")`, `"1"`}, {`coalesce(true, "hello")`, `"true"`},
	{`coalesce(null, "", null, "c")`, `"c"`}, {`coalesce("", "")`, `error: null or an empty`}, {`coalesce(0, 1)`, `0`}, {`coalesce(false, true)`, `false`}, {`coalesce({}, "hello")`, `error: one type`}, {`coalesce()`, `error: at least one`},
	{`coalescelist(["a", "b"], ["c", "d"])`, `["a", "b"]`}, {`coalescelist([], ["c", "d"])`, `["c", "d"]`}, {`coalescelist([[], ["c", "d"]]...)`, `["c", "d"]`}, {`coalescelist([])`, `error: no non-null`},
	{`compact(["a", "", "b", null, "c"])`, `["a", "b", "c"]`}, {`concat(["a", ""], ["b", "c"])`, `["a", "", "b", "c"]`},
	{`contains(["a", "b", "c"], "a")`, `true`}, {`contains(["a", "b", "c"], "d")`, `false`}, {`contains(toset([1, 2]), 2)`, `true`},
	{`distinct(["a", "b", "a", "c", "d", "b"])`, `["a", "b", "c", "d"]`},
	{`element(["a", "b", "c"], 1)`, `"b"`}, {`element(["a", "b", "c"], 3)`, `"a"`}, {`element(["a", "b", "c"], length(["a", "b", "c"]) - 1)`, `"c"`}, {`element(["a", "b", "c"], -1)`, `"c"`}, {`element([], 0)`, `error: empty list`},
	{`flatten([["a", "b"], [], ["c"]])`, `["a", "b", "c"]`}, {`flatten([[["a", "b"], []], ["c"]])`, `["a", "b", "c"]`},
	{`index(["a", "b", "c"], "b")`, `1`}, {`index(["a"], "z")`, `error: not in the list`}, {`index([], "z")`, `error: empty`}, {`index("a", "a")`, `error: list is wanted`}, {`index(tolist([1, 2]), 2)`, `1`},
	{`keys({ a = 1, c = 2, d = 3 })`, `["a", "c", "d"]`}, {`keys({ c = 2, a = 1 })`, `["a", "c"]`}, {`values({ a = 3, c = 2, d = 1 })`, `[3, 2, 1]`}, {`values({ c = 2, a = 1 })`, `[1, 2]`},
	{`length([])`, `0`}, {`length(["a", "b"])`, `2`}, {`length({ "a" = "b" })`, `1`}, {`length("hello")`, `5`}, {`length("👾🕹️")`, `2`}, {`length("")`, `0`}, {`length(toset(["a", "a"]))`, `1`}, {`length(5)`, `error: a list, a map or a text`}, {`length(null)`, `error: must not be null`},
	{`lookup({ a = "ay", b = "bee" }, "a", "what?")`, `"ay"`}, {`lookup({ a = "ay", b = "bee" }, "c", "what?")`, `"what?"`}, {`lookup({ a = 1 }, "a")`, `1`}, {`lookup({ a = 1 }, "b")`, `error: no attribute "b"`},
	{`lookup(tomap({ a = 1 }), "a")`, `1`}, {`lookup(tomap({ a = 1 }), "b", 7)`, `7`}, {`lookup(tomap({ a = 1 }), "b")`, `error: no key "b"`}, {`lookup({ a = 1 }, "b", null)`, `null`}, {`lookup({}, "a", "d")`, `"d"`}, {`lookup({ a = 1, b = "x" }, "b", 2)`, `"x"`}, {`lookup([1], "a")`, `error: a map is wanted`}, {`lookup({}, "a", 1, 2)`, `error: two or three`},
	{`matchkeys(["i-123", "i-abc", "i-def"], ["us-west", "us-east", "us-east"], ["us-east"])`, `["i-abc", "i-def"]`}, {`matchkeys(["a"], ["k"], [])`, `[]`}, {`matchkeys(["a"], [], ["k"])`, `error: as many`},
	{`merge({ a = "b", c = "d" }, { e = "f", c = "z" })`, `{ a = "b", c = "z", e = "f" }`}, {`merge({ a = "b" }, { a = [1, 2], c = "z" }, { d = 3 })`, `{ a = [1, 2], c = "z", d = 3 }`}, {`merge([{ a = "b", c = "d" }, {}, { e = "f", c = "z" }]...)`, `{ a = "b", c = "z", e = "f" }`}, {`merge({ a = 1 }, null)`, `{ a = 1 }`},
	{`one([])`, `null`}, {`one(["hello"])`, `"hello"`}, {`one(["hello", "goodbye"])`, `error: one element`}, {`one(toset(["hello"]))`, `"hello"`}, {`one(toset(["a", "b"]))`, `error: one element`}, {`one("a")`, `error: a list, a set`},
	{`range(3)`, `[0, 1, 2]`}, {`range(1, 4)`, `[1, 2, 3]`}, {`range(1, 8, 2)`, `[1, 3, 5, 7]`}, {`range(1, 4, 0.5)`, `[1, 1.5, 2, 2.5, 3, 3.5]`}, {`range(4, 1)`, `[4, 3, 2]`}, {`range(10, 5, -2)`, `[10, 8, 6]`}, {`range(0)`, `[]`}, {`range(-3)`, `[0, -1, -2]`}, {`range(1, 4, 0)`, `error: step`}, {`range(1025)`, `error: more than 1024`},
	{`reverse([1, 2, 3])`, `[3, 2, 1]`},
	{`setintersection(["a", "b"], ["b", "c"], ["b", "d"])`, `["b"]`}, {`setsubtract(["a", "b", "c"], ["a", "c"])`, `["b"]`}, {`setunion(["a", "b"], ["b", "c"], ["d"])`, `["a", "b", "c", "d"]`},
	{`setunion(setsubtract(["a", "b", "c"], ["a", "c", "d"]), setsubtract(["a", "c", "d"], ["a", "b", "c"]))`, `["b", "d"]`},
	{`setproduct(["development", "staging"], ["app1", "app2"])`, `[["development", "app1"], ["development", "app2"], ["staging", "app1"], ["staging", "app2"]]`}, {`setproduct(["staging", "production"], ["a", 2])`, `[["staging", "a"], ["staging", "2"], ["production", "a"], ["production", "2"]]`}, {`setproduct([], ["a"])`, `[]`}, {`setproduct(["a"])`, `error: at least two`},
	{`slice(["a", "b", "c", "d"], 1, 3)`, `["b", "c"]`}, {`slice(["a"], 0, 2)`, `error: end index`}, {`sort(["e", "d", "a", "x"])`, `["a", "d", "e", "x"]`}, {`sort(["10", "9"])`, `["10", "9"]`},
	{`transpose({ "a" = ["1", "2"], "b" = ["2", "3"] })`, `{ "1" = ["a"], "2" = ["a", "b"], "3" = ["b"] }`}, {`transpose({})`, `{}`},
	{`zipmap(["a", "b"], [1, 2])`, `{ a = 1, b = 2 }`}, {`zipmap(["a"], [1, 2])`, `error: number of keys`},

	{`base64encode("Hello World")`, `"SGVsbG8gV29ybGQ="`}, {`base64decode("SGVsbG8gV29ybGQ=")`, `"Hello World"`}, {`base64decode("/w==")`, `error: UTF-8`}, {`base64decode("!")`, `error: base64`},
	{`csvdecode("a,b,c\n1,2,3\n4,5,6")`, `[{ a = "1", b = "2", c = "3" }, { a = "4", b = "5", c = "6" }]`}, {`csvdecode("a,a\n1,2")`, `error: duplicate`},
	{`jsondecode("{\"hello\": \"world\"}")`, `{ hello = "world" }`}, {`jsondecode("true")`, `true`}, {`jsondecode("{")`, `error: EOF`},
	{`jsonencode({ "hello" = "world" })`, `"{\"hello\":\"world\"}"`}, {`jsonencode("<>&\u2028\u2029")`, `"\"\\u003c\\u003e\\u0026\\u2028\\u2029\""`}, {`jsonencode(null)`, `"null"`}, {`jsonencode({ b = 1.50, a = [true] })`, `"{\"a\":[true],\"b\":1.5}"`},
	{`urlencode("Hello World!")`, `"Hello+World%21"`}, {`urlencode("☃")`, `"%E2%98%83"`}, {`"http://example.com/search?q=${urlencode("terraform urlencode")}"`, `"http://example.com/search?q=terraform+urlencode"`},

	{`basename("foo/bar/baz.txt")`, `"baz.txt"`}, {`dirname("foo/bar/baz.txt")`, `"foo/bar"`}, {`pathexpand("~/.ssh/id_rsa")`, `"/home/me/.ssh/id_rsa"`}, {`pathexpand("/etc/resolv.conf")`, `"/etc/resolv.conf"`}, {`abspath("/a/../b")`, `"/b"`},
	{`file("hello.txt")`, `"Hello World"`}, {`fileexists("hello.txt")`, `true`}, {`fileexists("none")`, `false`}, {`fileexists("folder")`, `error: not a regular file`}, {`file("none")`, `error: no such file`}, {`file("latin1.txt")`, `error: UTF-8`},
	{`filebase64("hello.txt")`, `"SGVsbG8gV29ybGQ="`}, {`filemd5("hello.txt")`, `"b10a8db164e0754105b7a99be72e3fe5"`}, {`filesha256("hello.txt") == sha256(file("hello.txt"))`, `true`}, {`filebase64("latin1.txt")`, `"Y2Fm6Q=="`},

	{`timeadd("2017-11-22T00:00:00Z", "10m")`, `"2017-11-22T00:10:00Z"`}, {`timecmp("2017-11-22T00:00:00Z", "2017-11-22T00:00:00Z")`, `0`}, {`timecmp("2017-11-22T00:00:00Z", "2017-11-22T01:00:00Z")`, `-1`}, {`timecmp("2017-11-22T01:00:00Z", "2017-11-22T00:00:00Z")`, `1`}, {`timecmp("2017-11-22T01:00:00Z", "2017-11-22T00:00:00-01:00")`, `0`}, {`timecmp("x", "2017-11-22T00:00:00Z")`, `error: not a time`},
	{`formatdate("DD MMM YYYY hh:mm ZZZ", "2018-01-02T23:12:01Z")`, `"02 Jan 2018 23:12 UTC"`}, {`formatdate("EEEE, DD-MMM-YY hh:mm:ss ZZZ", "2018-01-02T23:12:01Z")`, `"Tuesday, 02-Jan-18 23:12:01 UTC"`}, {`formatdate("EEE, DD MMM YYYY hh:mm:ss ZZZ", "2018-01-02T23:12:01-08:00")`, `"Tue, 02 Jan 2018 23:12:01 -0800"`}, {`formatdate("MMM DD, YYYY", "2018-01-02T23:12:01Z")`, `"Jan 02, 2018"`}, {`formatdate("HH:mmaa", "2018-01-02T23:12:01Z")`, `"11:12pm"`}, {`formatdate("h'h'm'm'", "2018-01-02T23:12:01-08:00")`, `"23h12m"`}, {`formatdate("H 'o''clock' AA", "2018-01-02T23:12:01-08:00")`, `"11 o'clock PM"`},

	{`md5("hello world")`, `"5eb63bbbe01eeed093cb22bb8f5acdc3"`}, {`sha1("hello world")`, `"2aae6c35c94fcfb415dbe95f408b9ce91ee846ed"`}, {`sha256("hello world")`, `"b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"`}, {`sha512("hello world")`, `"309ecc489c12d6eb4cc40f50c902f2b4d0ed77ee511a7c7a9bcd3ca86d4cd86f989dd35bc5ff499670da34255b45b0cfd830e81f605dcf7dc5542e93ae9cd76f"`},
	{`base64sha256("hello world")`, `"uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="`}, {`base64sha512("hello world")`, `"MJ7MSJwS1utMxA9QyQLytNDtd+5RGnx6m808qG1M2G+YndNbxf9JlnDaNCVbRbDP2DDoH2Bdz33FVC6TrpzXbw=="`},

	{`tobool(true)`, `true`}, {`tobool("true")`, `true`}, {`tobool("no")`, `error: bool`}, {`tobool(1)`, `error: bool`}, {`tonumber(1)`, `1`}, {`tonumber("1")`, `1`}, {`tonumber(null)`, `null`}, {`tonumber("no")`, `error: number`},
	{`tostring("hello")`, `"hello"`}, {`tostring(1)`, `"1"`}, {`tostring(true)`, `"true"`}, {`tostring([])`, `error: string`}, {`tostring(1.10)`, `"1.1"`}, {`tostring(null)`, `null`},
	{`tolist(["a", "b", "c"])`, `["a", "b", "c"]`}, {`tolist(["a", "b", 3])`, `["a", "b", "3"]`}, {`tolist(toset(["b", "a"]))`, `["a", "b"]`}, {`tolist("a")`, `error: list`}, {`tolist([[1], ["a"]])`, `[["1"], ["a"]]`},
	{`toset(["a", "b", "c"])`, `["a", "b", "c"]`}, {`toset(["a", "b", 3])`, `["3", "a", "b"]`}, {`toset(["c", "b", "b"])`, `["b", "c"]`}, {`toset([])`, `[]`},
	{`tomap({ "a" = 1, "b" = 2 })`, `{ a = 1, b = 2 }`}, {`tomap({ "a" = "foo", "b" = true })`, `{ a = "foo", b = "true" }`}, {`tomap([1])`, `error: map`},
	{`can(jsondecode("{"))`, `false`}, {`can(1)`, `true`}, {`try(jsondecode("{"), "fallback")`, `"fallback"`}, {`try({ a = 1 }.b, { a = 1 }.a)`, `1`}, {`try(tonumber("a"), tonumber("b"))`, `error: no expression succeeded`}, {`try(try(try(jsondecode("{"), jsondecode("}")), 2), 3)`, `2`}, {`[for s in ["1", "a"]: try(tonumber(s), 0)]`, `[1, 0]`},
	{`issensitive(sensitive("a"))`, `true`}, {`issensitive("a")`, `false`}, {`issensitive(nonsensitive(sensitive("a")))`, `false`}, {`nonsensitive(sensitive([1, 2]))`, `[1, 2]`}, {`nonsensitive("plain")`, `"plain"`},

	{`yamlencode({ a = "b", c = "d" })`, `"\"a\": \"b\"\n\"c\": \"d\"\n"`},
	{`yamlencode({ foo = [1, 2, 3] })`, `"\"foo\":\n- 1\n- 2\n- 3\n"`},
	{`yamldecode("hello: world")`, `{ hello = "world" }`},
	{`yamldecode("true")`, `true`},
	{`yamldecode("{a: &foo [1, 2, 3], b: *foo}")`, `{ a = [1, 2, 3], b = [1, 2, 3] }`},
	{`yamldecode("{a: &foo [1, *foo, 3]}")`, `error: inside its own anchor`},
	{`yamldecode("{a: !not-supported foo}")`, `error: unsupported tag`},
	{`yamldecode("a: [1")`, `error: line 1`},
	{`type("a")`, `"string"`},
	{`type([1, "a"])`, `"tuple([number,string])"`},
	{`type({ a = 1 })`, `"object({a=number})"`},
	{`type(tolist([1]))`, `"list(number)"`},
	{`type(null)`, `"any"`},
	{`issensitive(type(sensitive(1)))`, `false`},
	{`fileset(".", "*.txt")`, `toset(["hello.txt", "latin1.txt"])`},
	{`fileset("folder", "*")`, `toset(["a.csv", "b.csv"])`},
	{`fileset(path.module, "**/*.csv")`, `toset(["folder/a.csv", "folder/b.csv"])`},
	{`fileset(".", "none*")`, `toset([])`},
	{`fileset("nothere", "*")`, `error: no such file`},
	{`fileset(".", "[")`, `toset([])`},
	{`templatefile("greet.tftpl", { name = "Ada", n = [1, 2] })`, `"Hello, Ada! 1 2 "`},
	{`templatefile("greet.tftpl", { name = "Ada" })`, `error: greet.tftpl:1,29-30 uses n, and no value of that name is given`},
	{`templatefile("greet.tftpl", "Ada")`, `error: an object of names and values`},
	{`templatefile("greet.tftpl", { "a b" = 1 })`, `error: cannot be a name`},
	{`templatefile("broken.tftpl", {})`, `error: broken.tftpl:1`},
	{`templatefile("again.tftpl", {})`, `error: no function named "templatefile"`},
	{`templatefile("nothere", {})`, `error: reading the template`},
	{`issensitive(templatefile("greet.tftpl", { name = sensitive("Ada"), n = [] }))`, `true`},

	// A mistake in a branch that is not taken is none.
	{`0 == 0 ? 7 : 1 / 0`, `7`}, {`[for x in [0, 1, 2]: x == 0 ? 0 : 1 / x]`, `[0, 1, 0.5]`}, {`true || 1 / 0 > 1`, `true`}, {`false && 1 / 0 > 1`, `false`}, {`"%{ if true }a%{ else }${1 / 0}%{ endif }"`, `"a"`},
	{`true ? 1 / 0 : 7`, `error: infinite`}, {`false || 1 / 0 > 1`, `error: infinite`}, {`try(1 / 0, "d")`, `"d"`}, {`try([for x in [0, 1]: 1 / x], "d")`, `"d"`}, {`try(1 / 0 > 1, "d")`, `"d"`}, {`can(1 / 0)`, `false`},
	// Null is an element like others, and no result stays unknown on its account.
	{`toset(["a", null]) == toset([null, "a"])`, `true`}, {`[for x in setunion(["a", null], ["b"]): x == null ? "-" : x]`, `["a", "b", "-"]`}, {`length(setsubtract(["a", null], ["a"]))`, `1`}, {`contains([null], null)`, `error: not defined for null`},
	{`pathexpand("~other/x")`, `error: another user`}, {`issensitive(tolist([sensitive("a"), "b"])[1])`, `false`}, {`issensitive(tolist([sensitive("a"), "b"])[0])`, `true`}, {`issensitive(tomap({ a = sensitive("a") }))`, `false`}, {`issensitive(toset([sensitive("a")]))`, `true`},

	{`uuid()`, `error: left out on purpose. Its result differs each time, so`}, {`timestamp()`, `error: left out`}, {`list(1)`, `error: tolist`}, {`templatestring("a", {})`, `error: left out`}, {`lenght([])`, `error: Did you mean "length"?`},
}

// TestFunctions evaluates the examples through HCL, as a pipeline does.
func TestFunctions(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{"hello.txt": "Hello World", "latin1.txt": "caf\xe9", "folder/a.csv": "",
		"folder/b.csv": "", "folder/.c.csv": "", "greet.tftpl": "Hello, ${name}! %{ for x in n }${x} %{ endfor }",
		"broken.tftpl": "${", "again.tftpl": `${templatefile("greet.tftpl", {})}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shown := map[string]bool{} // by an example on the language page
	list := slices.Clone(documented)
	for _, g := range functionGroups {
		for _, x := range g.examples {
			list = append(list, struct{ expr, want string }{x.call, x.want})
			for n := range known {
				shown[n] = shown[n] || regexp.MustCompile(`\b`+n+`\(`).MatchString(x.call)
			}
		}
	}
	for n := range known {
		if _, ours := own[n]; !ours && !shown[n] {
			t.Errorf("the language page has no example of %s: add one to functionGroups", n)
		}
	}
	for _, c := range list {
		src := "output \"o\" { value = " + c.expr + " }\n"
		failure, fails := strings.CutPrefix(c.want, "error: ")
		if !fails {
			src += "output \"want\" { value = " + c.want + " }\n"
		}
		if err := os.WriteFile(filepath.Join(dir, "m.hcl"), []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		values, diags := evaluatePath(dir)
		switch {
		case fails && !strings.Contains(diags.Error(), failure):
			t.Errorf("%s: %s %v, want an error with %q", c.expr, Show(values["o"]), diags, failure)
		case fails:
		case diags.HasErrors():
			t.Errorf("%s: %v", c.expr, diags)
		case Show(values["o"]) != Show(values["want"]):
			t.Errorf("%s is %s, not %s", c.expr, Show(values["o"]), Show(values["want"]))
		}
	}
}

// TestFunctionsKeepSecrets: an error of a function does not quote what it was given.
func TestFunctionsKeepSecrets(t *testing.T) {
	const canary = "canary-1234"
	for _, expr := range []string{`parseint(var.k, 10)`, `tonumber(var.k)`, `jsondecode(var.k)`, `formatdate("YYYY", var.k)`, `timeadd(var.k, "1h")`, `timecmp(var.k, var.k)`, `file(var.k)`, `fileexists("${var.k}\u0000")`,
		`regex(var.k, "x")`, `replace("x", "/${var.k}[/", "")`, `lookup({}, var.k)`, `lookup(tomap({ a = 1 }), var.k)`, `index(["a"], var.k)`, `base64decode(var.k)`, `bytes(var.k)`, `env(var.k)`, `csvdecode("\"${var.k}")`,
		`{ a = 1 }[var.k]`, `[1][var.k]`, `try(tonumber(var.k), jsondecode(var.k))`, `"x" + var.k`, `format(var.k, 1)`, `sum([var.k])`, `transpose({ (var.k) = [null] })`, `coalesce(var.k, {})`, `{ for x in ["a", "b"]: var.k => x }`} {
		_, diags := evaluate(t, "variable \"k\" { sensitive = true }\noutput \"o\" { value = "+expr+" }\n", Vars("k="+canary)...)
		if !diags.HasErrors() {
			t.Errorf("%s: no error", expr)
		}
		for _, d := range diags {
			if strings.Contains(d.Summary+d.Detail, canary) {
				t.Errorf("%s: %v", expr, d)
			}
		}
	}
}

func TestMessagesOfReferences(t *testing.T) {
	for src, want := range map[string]string{
		"output \"a\" { value = output.b }\noutput \"b\" { value = 1 }\n": "Nothing can refer to an output",
		"output \"a\" { value = outputs.b }\n":                            "There is no \"outputs\". Values are",
		"output \"a\" { value = stge.b }\n":                               `Did you mean "stage"?`,
		"output \"a\" { value = " + strings.Repeat("x", 1<<20) + " }\n":   "There is no \"x",
	} {
		_, diags := evaluate(t, src)
		if len(diags.Errs()) != 1 || !strings.Contains(diags.Errs()[0].(*hcl.Diagnostic).Detail, want) {
			t.Errorf("%.80s: %.300v, want %s", src, diags, want)
		}
	}
}
