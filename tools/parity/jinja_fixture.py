"""Renders templates with PyPI's jinja2, in the environments of transformers' chat templates and of lm-evaluation-harness,
and writes foreign/jinja/testdata/jinja2.json, which the tests of foreign/jinja compare with.

usage: jinja_fixture.py OUT"""
import copy, datetime, json, re, sys
import jinja2, jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

VARS = {
    "s": "Hello Wörld", "empty": "", "n": 7, "z": 0, "neg": -7, "f": 2.5, "t": True, "no": None, "big": 1e20, "tiny": 1e-7,
    "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "d": {"b": 1, "a": {"x": [1, 2]}, "items": "key"}, "multi": "a\nb\n\n c\r\nd",
    "ws": " \t\u00a0x y\u2003\n", "uni": "ß ﬁ ǆ ΑΣ İ 日本 👩‍💻 \"q\" 'p' \\ \u0007",
    "msgs": [{"role": "system", "content": "S"}, {"role": "user", "content": "U <&> 'é'"},
             {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "g", "arguments": {"b": 1, "a": [True, None, 1.5]}}}]}],
}

EXPR = r"""
1 + 2 * 3 ** 2 ;; -2 ** 2 ;; 2 ** 3 ** 2 ;; 7 // 2 ;; -7 // 2 ;; -7 % 3 ;; 7 % -3 ;; 7.5 // 2 ;; -7.5 % 2 ;; 1 / 2 ;; 4 / 2 ;; 2 ** -1 ;; 1 / 0
1 + true ;; "a" + "b" ;; "a" + 1 ;; 1 ~ 2 ~ "x" ;; 1 ~ 2 + 3 ;; "a" ~ none ~ true ~ 1.0 ;; "ab" * 3 ;; 3 * "ab" ;; [1] * 2 ;; [1] + [2] ;; (1,) + (2,) ;; [1] + (2,)
1 < 2 < 3 ;; 1 < 2 > 5 ;; 1 == 1.0 ;; true == 1 ;; "a" < "b" ;; "a" < 1 ;; [1, 2] < [1, 3] ;; none == none ;; none < 1 ;; [1] == (1,) ;; {"a": 1} == {"a": 1.0}
1 in [1, 2] ;; "l" in s ;; 1 in s ;; "b" in d ;; "x" not in d ;; not 1 in [2] ;; 3 in l and not z ;; "" in "" ;; none in [none] ;; 1 in none
x ;; x.y ;; x is defined ;; x is undefined ;; s.y ;; s.y.z ;; d.y is defined ;; d.zz ;; d["zz"] ;; x == y ;; x == none ;; x or "e" ;; not x ;; x ~ "a" ;; x + 1 ;; "a" + x ;; x | length ;; x | upper ;; x | int ;; x < 1 ;; 1 in x ;; x[0] ;; x() ;; x is iterable ;; x is sequence ;; x is none ;; (x | default("D")) ;; (empty | default("D")) ;; (empty | default("D", true)) ;; none | default("D") ;; x | list ;; x | join ;; x | tojson ;; x | first ;; x | trim ;; x | string ;; x | items | list ;; x if z ;; (x if z) is defined ;; x | d ;; -x
s[0] ;; s[-1] ;; s[99] ;; s[7] ;; s[1:4] ;; s[::-1] ;; s[::2] ;; s[-3:] ;; s[5:2] ;; s[5:2:-1] ;; l[0] ;; l[-1] ;; l[5] ;; l[1:] ;; l[::-1] ;; l[:-1] ;; l.0 ;; l["a"] ;; l[true] ;; d["b"] ;; d.b ;; d.items ;; d["items"] ;; d.a.x[1] ;; msgs[1].content ;; msgs[-1]["role"] ;; d[1:2] ;; (1, 2)[0] ;; (1,2,3)[1:] ;; d[l] ;; l[1.5] ;; s["upper"]() ;; l[::0]
s ;; n ;; f ;; t ;; no ;; big ;; tiny ;; l ;; d ;; (1, "a") ;; (1,) ;; () ;; [] ;; {} ;; {"a": none, 1: "b"} ;; [1.0, 1e16, 1e15, 123456789.123, 0.1, 1e-4, 1e-5] ;; ["it's", 'say "x"', "both ' \"", "new\nline\t\\", "é\u0007\u200b"] ;; uni ;; [uni] ;; 1.0 ;; 100000000000000000000.0 ;; 1_000 ;; 0x1f ;; 0b11 ;; 0o17 ;; 1e3 ;; 1.5e-3 ;; 12345678901234567
"a\nb" ;; 'a\'b' ;; "\u00e9\x41\101" ;; "a" "b" ;; "a\qb" ;; "\\" ;; "tab\t|"
s.upper() ;; s.lower() ;; s.title() ;; s.capitalize() ;; s.swapcase() ;; uni.upper() ;; uni.lower() ;; uni.title() ;; uni.capitalize() ;; "they're bill's".title() ;; "x1y a-b".title() ;; s.strip() ;; ws.strip() | tojson ;; ws.lstrip() | tojson ;; ws.rstrip() | tojson ;; "xxaxx".strip("x") ;; "abcba".strip("ab") ;; "xxa".lstrip("x") ;; s.split() ;; s.split("l") ;; s.split("l", 1) ;; s.rsplit("l", 1) ;; " a  b c ".split() ;; " a  b c ".split(" ") ;; " a  b c ".split(none, 1) ;; " a  b c ".rsplit(none, 1) ;; s.split("") ;; multi.splitlines() ;; multi.splitlines(true) ;; s.startswith("He") ;; s.startswith(("x", "He")) ;; s.endswith("d") ;; s.startswith("l", 2) ;; s.find("l") ;; s.find("ö") ;; s.find("r") ;; s.rfind("l") ;; s.find("zz") ;; s.index("zz") ;; s.count("l") ;; s.replace("l", "L") ;; s.replace("l", "L", 1) ;; s.replace("", "-") ;; ",".join(words) ;; ",".join(l) ;; s.partition("o") ;; s.rpartition("o") ;; s.partition("zz") ;; s.removeprefix("He") ;; s.removesuffix("ld") ;; s.center(20, "*") ;; "ab".center(5) ;; "abc".center(6) ;; "a".ljust(3) ~ "|" ;; "a".rjust(3) ;; "-5".zfill(4) ;; "5".zfill(3) ;; s.isalpha() ;; "abc".isalpha() ;; "".isalpha() ;; "12".isdigit() ;; "1.2".isdigit() ;; " ".isspace() ;; "Ab".isupper() ;; "AB1".isupper() ;; "ab1".islower() ;; "1".islower() ;; "a1".isalnum() ;; "é".isascii() ;; "{} {}".format(1, "a") ;; "{1} {0} {x}".format(1, 2, x=3) ;; "{{}} {:.2f}".format(1.234) ;; "{".format(1) ;; "%s-%d %.2f %%" % ("a", 3, 1.5) ;; "%s" % "x" ;; "%05d|%5s|%-5s|" % (42, "ab", "cd") ;; "%(a)s" % {"a": 1} ;; "%s %s" % "x" ;; s.nosuch ;; s.nosuch() ;; uni.casefold() ;; "%s" % [1] ;; "%d" % 3.7 ;; "%x" % 255
d.items() | list ;; d.keys() | list ;; d.values() | list ;; d.get("b") ;; d.get("zz") ;; d.get("zz", 5) ;; d.items() ;; d.keys() ;; d.items() | length ;; d.keys()[0] ;; d | items | list ;; d | length ;; l.index(1) ;; l.count(1) ;; l.append(4) ;; d.update({}) ;; d.pop("b") ;; l.sort() ;; l.nosuch ;; s.__class__ ;; d.__class__ ;; d.copy() ;; l | items
l | sort ;; words | sort ;; words | sort(case_sensitive=true) ;; l | sort(reverse=true) ;; msgs | sort(attribute="role") | map(attribute="role") | list ;; [1, "a"] | sort ;; d | dictsort ;; {"B": 1, "a": 0} | dictsort ;; {"B": 1, "a": 0} | dictsort(true) ;; {"B": 1, "a": 0} | dictsort(by="value") ;; l | reverse | list ;; s | reverse ;; l | first ;; l | last ;; [] | first ;; [] | last ;; s | first ;; s | last ;; l | max ;; l | min ;; words | max ;; words | min ;; [] | max ;; l | sum ;; [1.5, 2] | sum ;; msgs | map(attribute="role") | join(", ") ;; msgs | map(attribute="role") ;; msgs | map(attribute="zz") | list ;; msgs | map(attribute="zz", default="D") | list ;; words | map("upper") | list ;; words | map("replace", "a", "X") | join ;; msgs | selectattr("role", "equalto", "user") | list ;; msgs | selectattr("tool_calls") | map(attribute="role") | list ;; msgs | selectattr("tool_calls", "defined") | list | length ;; msgs | rejectattr("role", "eq", "system") | map(attribute="content") | list ;; l | select("odd") | list ;; l | reject("odd") | list ;; l | select | list ;; l | select(">", 1) | list ;; l | select("in", [1, 2]) | list ;; words | unique | list ;; words | unique(case_sensitive=true) | list ;; l | join("-") ;; l | join ;; words | join(", ") ;; msgs | join("|", attribute="role") ;; d | join(",") ;; s | join("-") ;; l | length ;; s | length ;; 5 | length ;; (l | select) | length ;; l | batch(2) | list ;; l | batch(2, "x") | list ;; l | slice(2) | list ;; s | list ;; d | list ;; 5 | list ;; range(5) | list ;; range(1, 10, 3) | list ;; range(5, 0, -2) | list ;; range(3) ;; range(2, 5, 2) ;; range(10)[3] ;; range(10)[2:5] | list ;; range(3) | length ;; 2 in range(3) ;; range(1000000000) ;; range(0)
s | upper ;; s | lower ;; s | title ;; s | capitalize ;; uni | title ;; "foo-bar (baz) x's" | title ;; ws | trim | tojson ;; "xax" | trim("x") ;; s | replace("l", "L") ;; s | replace("l", "L", 1) ;; 5 | string ~ "a" ;; "5" | int ;; "5.9" | int ;; "x" | int ;; "x" | int(3) ;; "0x1f" | int(base=16) ;; 5.9 | int ;; -5.9 | int ;; none | int ;; "1_000" | int ;; " 12 " | int ;; "2.5" | float ;; "x" | float ;; "x" | float(1.5) ;; 3 | float ;; "inf" | float ;; "1e3" | float ;; -5 | abs ;; -5.5 | abs ;; 2.5 | round ;; 3.5 | round ;; 2.567 | round(2) ;; 2.567 | round(1, "floor") ;; 2.1 | round(method="ceil") ;; 1234 | round(-2) ;; 5 | round ;; 2.675 | round(2) ;; multi | indent ;; multi | indent(2) ;; multi | indent(2, true) ;; multi | indent(2, true, true) ;; multi | indent("> ") ;; "a b  c_d é" | wordcount ;; "ab" | center(6) ~ "|" ;; "%s %s" | format(1, "a") ;; "%(x)s" | format(x=1) ;; s | safe ;; s | nosuch ;; s | count ;; n | upper ;; no | upper ;; l | upper ;; no | trim ;; l | string ;; no | string ;; n | trim
d | tojson ;; l | tojson ;; uni | tojson ;; "<a href='x'>&" | tojson ;; f | tojson ;; big | tojson ;; tiny | tojson ;; no | tojson ;; t | tojson ;; [] | tojson ;; {} | tojson ;; (1, 2) | tojson ;; {1: 2, none: 3, true: 4} | tojson ;; d | tojson(indent=2) ;; [[], {}, [1]] | tojson(indent=2) ;; msgs | tojson(indent=4) ;; "\u2028\u007f\u0001" | tojson ;; "inf" | float | tojson ;; range(2) | tojson ;; (l | select) | tojson
d | tojson(separators=(",", ":")) ;; d | tojson(sort_keys=true) ;; uni | tojson(ensure_ascii=true) ;; d | tojson(indent="--") ;; d | tojson(indent=2, separators=(", ", " : ")) ;; d | tojson(indent=0) ;; d | tojson(foo=1)
1 is number ;; 1.0 is number ;; true is number ;; "1" is number ;; 1 is integer ;; true is integer ;; 1.0 is float ;; true is boolean ;; s is string ;; d is mapping ;; l is mapping ;; l is sequence ;; s is sequence ;; d is sequence ;; 5 is sequence ;; s is iterable ;; 5 is iterable ;; (l | select) is iterable ;; (l | select) is sequence ;; range is callable ;; s is callable ;; none is none ;; x is none ;; 3 is odd ;; 4 is even ;; 2.5 is odd ;; s is odd ;; 6 is divisibleby 3 ;; 6 is divisibleby(4) ;; "a" is eq "a" ;; 1 is eq(1.0) ;; 1 is ne 2 ;; 2 is gt 1 ;; 2 is lt(1) ;; 1 is in [1] ;; true is sameas true ;; 1 is sameas true ;; none is sameas none ;; s is sameas none ;; "AB" is upper ;; "ab" is lower ;; 1 is true ;; true is true ;; 0 is false ;; false is false ;; "upper" is filter ;; "nosuch" is filter ;; "odd" is test ;; 5 is nosuch ;; s is not string ;; not s is string ;; s is string and 5 is odd ;; 5 is greaterthan 3 ;; "a" is equalto "a" ;; s is defined and n ;; l is not defined or t ;; d.items is callable
1 if t else 2 ;; 1 if z else 2 ;; 1 if z else 2 if t else 3 ;; (1 if z) ~ "x" ;; "a" if x is defined else "b" ;; t and "v" ;; z and "v" ;; z or "v" ;; none or none ;; not not 1 ;; (l | select("gt", 5)) and "generators are true" ;; [] or "e" ;; {} or "e" ;; 0.0 or "e"
namespace(a=1).a ;; namespace(a=1).b ;; namespace(a=1).items ;; dict(a=1, b=2) ;; dict([("a", 1)]) ;; dict({"a": 1}, b=2) ;; cycler(1, 2).next() ;; joiner("|")() ~ "x" ;; dict(a=1).a ;; range("a") ;; range()
"a" | upper | lower ~ "B" | lower ;; -1 | abs ;; (-1) | abs ;; 1 + 2 | string ;; "a" ~ "b" | upper ;; 5 | string | length ;; l | length + 1 ;; not z | string ;; 3 - 1 | abs * 2 ;; 1.5.real ;; n.nosuch ;; 5 . x ;; s.upper().lower() ;; [1, 2, 3,] ;; {"a": 1,} ;; (1, 2,) ;; 1, 2 ;; s | replace(old="l", new="x") ;; s | upper(1) ;; s | replace("l") ;; "a" is string is defined ;; none | tojson ~ none ;; l | map("nosuch") | list ;; [l, l] | sum(start=[]) ;; [[1], [2]] | sum(start=[]) ;; "a,b" | list | join ;; true + true ;; [1,2] | tojson | length ;; s in [s] ;; 9223372036854775807 ;; -9223372036854775807 - 1 ;; "é" < "z" ;; "Z" < "a" ;; "a" > "B" ;; [] < [1] ;; 2 ** 10 ;; 0.1 + 0.2 ;; 1e308 * 10 ;; 10 // 0.3 ;; 5 % 0.3
"""

STATEMENTS = [
    "{% if t %}a{% elif n %}b{% else %}c{% endif %}", "{% if z %}a{% elif n %}b{% else %}c{% endif %}", "{% if z %}a{% elif z %}b{% else %}c{% endif %}",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in [] %}{{ x }}{% else %}none{% endfor %}", "{% for x in u %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{{ loop.last }},{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d | items %}{{ k }}{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in s %}{{ c }}.{% endfor %}", "{% for x in 5 %}{% endfor %}",
    "{% for k, v in [[1, 2, 3]] %}{{ k }}{% endfor %}", "{% for (a, b), c in [[[1, 2], 3]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.length }}{{ loop.depth }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }};{% endfor %}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{% if x is number %}{{ x }}{% else %}({{ loop(x) }}){% endif %}{% endfor %}", "{% for x in l %}{% if loop.nextitem is defined %}{{ x }}{% endif %}{% endfor %}",
    "{% set a = 1 %}{% for x in l %}{% set a = x %}{{ a }}{% endfor %}{{ a }}", "{% for x in l %}{% if a is defined %}D{% endif %}{% set a = x %}{% endfor %}{{ a }}",
    "{% set a = 1 %}{% if t %}{% set a = 2 %}{% endif %}{{ a }}", "{% set ns = namespace(i=0) %}{% for x in l %}{% set ns.i = ns.i + x %}{% endfor %}{{ ns.i }}",
    "{% set ns.x = 1 %}", "{% set d.x = 1 %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set a %}x{{ n }}{% endset %}{{ a }}", "{% set a | upper %}x{{ s }}{% endset %}{{ a }}",
    "{% set a | replace('x', 'y') | upper %}x{% endset %}{{ a }}", "{% set x = x | default('q') %}{{ x }}", "{% set a = [] %}{% set a = a + [1] %}{{ a }}", "{% set n = n + 1 %}{{ n }}",
    "{% macro m(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(x=2) }}",
    "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m() %}{{ n }}{% set n = 3 %}{% endmacro %}{{ m() }}{{ n }}",
    "{% macro m() %}{{ later }}{% endmacro %}{% set later = 1 %}{{ m() }}", "{% macro f(x) %}{{ x }}{% if x > 0 %}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro m() %}a{% endmacro %}{{ m() | upper }}{{ m }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{% endcall %}", "{% macro m() %}[{{ caller(1) }}]{% endmacro %}{% call(a) m() %}x{{ a }}{% endcall %}", "{% macro m() %}{% endmacro %}{% call m() %}x{% endcall %}",
    "{% macro m(a='x,y', b=[1, 2]) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(1) }}", "{{ m.name }}{% macro m() %}{% endmacro %}{{ m.name }}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}a{% endfilter %}", "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set q = 1 %}{% endwith %}{{ q }}",
    "{% raw %}{{ x }}{% if %}{% endraw %}", "{% raw -%}  a {%- endraw %} b", "a {# c {{ x }} #} b", "a {#- c -#} b", "a {#+ c +#} b",
    "a\n  {% if t %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if t -%}\n  b\n  {%- endif -%}\nc\n", "a\n  {%+ if t +%}\n  b\n  {% endif %}\nc", "  {% if t %}x{% endif %}  \n", "  {{ n }}\n  {{ n }}\n", "x {% if t %}\n\n y{% endif %}",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}\n\n", "{{ n -}}  \n x {{- n }}", "a\r\nb\r{{ n }}\r\n", "\n\n{{ n }}\n\n", "{# c #}\nx", "  {# c #}\nx", "{{ n }}\n{% if t %}y{% endif %}\nz", "{{ n }}   {% if t %}y{% endif %}", "\t{% if t %}y{% endif %}\u00a0{% if t %}z{% endif %}",
    "{% if t %}  {% if t %}y{% endif %}{% endif %}", "{% if t %}\n  {% if t %}\ny{% endif %}{% endif %}", "{{ '}}' }}", "{{ {'a': {'b': 1}} }}", "{{ {'a': {'b': 1}}['a'] }}", "{{ [1, 2][0] }}", "{{ \"%}\" }}", "{% set a = '%}' %}{{ a }}", "{ {", "{", "a { b } c", "}} %}", "{{ }}", "{% %}", "{{ 1", "{% if t %}", "{% endif %}", "{% for %}", "{% for x l %}", "{{ 1 + }}", "{{ a b }}", "{{ (1 }}", "{{ 1) }}", "{{ [1} }}", "{{ 'a }}", "{# a", "{% nosuch %}", "{% if t %}a{% else %}b{% else %}c{% endif %}", "{{ $ }}", "{{ a ? b }}", "{{ f(a=1, 2) }}", "{% set true = 1 %}", "{% set a.b = 1 %}", "{% raw %}", "{{ \"a\" ; }}", "{{ 1 == }}", "{{ not }}", "{{ 01 }}", "{{ 1.e }}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% generation %}a{% endgeneration %}b", "{% set q = 1 %}{% generation %}{% set q = 2 %}{{ q }}{% endgeneration %}{{ q }}",
    "{{ raise_exception('no') }}", "{% if z %}{{ raise_exception('no') }}{% endif %}ok", "{{ strftime_now('%Y') | length }}", "{% do 1 %}", "{% include 'x' %}",
    "{%- set g = l | select('gt', 1) %}{{ g | list }}{{ g | list }}", "{% set g = l | map('string') %}{% for x in g %}{{ x }}{% endfor %}{% for x in g %}{{ x }}{% endfor %}", "{% set g = l | reverse %}{{ g | first }}{{ g | list }}",
    "{%- for m in msgs %}{{ '<|' + m.role + '|>' + m.content | trim }}{%- if m.tool_calls is defined and m.tool_calls is not none %}{{ m.tool_calls[0].function | tojson }}{% endif %}{%- endfor %}", "{{- msgs[1:] | map(attribute='content') | join('') -}}",
    "{% if 'x' in s and (n > 3 or z) %}1{% endif %}{% if not (n is odd) %}2{% endif %}", "{% set it = msgs[0]['content'] if msgs[0]['role'] == 'system' else '' %}{{ it }}", "{% for a in l %}{% set loop_a = loop %}{% for b in l %}{{ loop_a.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{{ ['a', 'b'] | map('upper') | join(',') }}{{ [[1, 2]] | map('join', '-') | list }}", "{{ [1, 2, 3][-2:] }}{{ msgs | length - 1 }}", "{{ 'a' 'b' ~ 'c' }}", "{{ d['a']['x'] | first }}", "{{ (n, s) | first }}", "{{ s[:3] ~ '…' }}", "{%- if (loop is defined) %}x{% else %}y{% endif %}", "{{ 'A' if n == 7 and s is string else 'B' }}",
    "{% for x in l %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}", "{% set a = {'x': 1} %}{{ a.x }}{{ a['x'] }}{{ a.y | default('-') }}", "{% for k, v in {'a': 1}.items() %}{% set k = 'z' %}{{ k }}{{ v }}{% endfor %}", "{{ (1, 2) == (1, 2) }}{{ ((1, 2), 3)[0][1] }}", "{{ {'a': 1}.items() | list }}", "{% for x in (1, 2) %}{{ x }}{% endfor %}{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% if 1, 2 %}x{% endif %}", "{{ dict(a=1) | items | list }}", "{{ x.y.z is defined }}", "{{ d.q.z is defined }}", "{{ d.q is defined and d.q.z }}",
]

TASKS = [
    "{{ s|regex_replace('l+', 'L') }}", "{{ s|regex_replace('(H)(e)', '\\\\2\\\\1') }}", "{{ 'a1b22'|regex_replace('\\\\d', '#', 1) }}", "{{ s|regex_replace('\\\\w+$', 'X') }}", "{{ uni|regex_replace('[^a-z]', '') }}", "{{ 'a  b'|regex_replace('\\\\s+', ' ') }}", "{{ 'x[y]z'|regex_replace('\\\\[.*?\\\\]', '') }}", "{{ 'ab'|regex_replace('(?P<q>a)', '<\\\\g<q>>') }}", "{{ 'ab'|regex_replace('(', '') }}", "{{ 'aXbX'|regex_replace('(?i)x', '-') }}", "{{ 'ab'|regex_replace('a(c)?', '[\\\\1]') }}", "{{ 'abc'|regex_replace('', '-') }}",
    "{{ 'abxd'|regex_replace('x*', '-') }}", "{{ 'a\\nb'|regex_replace('(?m)$', '!') }}", "{{ 'a\\n'|regex_replace('$', '!') }}", "{{ 'é b'|regex_replace('\\\\b', '|') }}", "{{ 'aab'|regex_replace('(a)\\\\1', 'x') }}", "{{ 'ab ac'|regex_replace('a(?=c)', 'x') }}",
    "{{ 'aaa'|regex_replace('a', 'b', -1) }}", "{{ 'aaa'|regex_replace('a', 'b', 0) }}", "{{ 'a'|regex_replace('\\\\Qa', 'b') }}", "{{ 'a'|regex_replace('a\\\\z', 'b') }}", "{{ 'aé_'|regex_replace('[\\\\W]', 'x') }}", "{{ 'a'|regex_replace('a', '\\\\q') }}",
    "{{ s }}\n", "{{ s }}\n\n", "\n{% if t %}\nx\n{% endif %}\n", "  {% if t %}y{% endif %}", "{{ d }}", "{{ l }}{{ words }}", "{% set a = msgs[0] %}{{ a.content.strip() }}", "{{ [s, n] }}", "{{ msgs|map(attribute='role')|list }}", "{{ ['no', 'yes'][n % 2] }}", "{{ l.index(1) }}", "{{ 'ABC'[l[0] - 1] }}", "{{ s.split(' ')[0] }}", "{{ multi|replace('\n', ' ') }}", "{{ (s ~ '.') | trim }}", "Question: {{ s.strip() }}\nAnswer:", "{{ d | tojson }}", "{{ \"<'&'>\" | tojson }}", "{{ d | tojson(indent=1) }}",
]


def environments():
    def chat():
        def raise_exception(message):
            raise jinja2.exceptions.TemplateError(message)

        def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
            return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

        class Generation(jinja2.ext.Extension):
            tags = {"generation"}

            def parse(self, parser):
                line = next(parser.stream).lineno
                body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
                return jinja2.nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

            def _said(self, caller):
                return caller()

        env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
        env.filters["tojson"] = tojson
        env.globals["raise_exception"] = raise_exception
        env.globals["strftime_now"] = lambda f: datetime.datetime(2024, 7, 26, 9, 5, 3).strftime(f)
        return env

    def tasks():
        env = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        env.filters["regex_replace"] = lambda s, pattern, repl, count=0: re.sub(pattern, repl, s, count=count)
        return env

    return {"chat": chat(), "tasks": tasks()}


def main():
    expressions = [e.strip() for line in EXPR.strip().split("\n") for e in line.split(" ;; ")]
    cases = []
    for mode, env in environments().items():
        templates = ["{{ " + e + " }}" for e in expressions] + STATEMENTS + (TASKS if mode == "tasks" else [])
        for t in templates:
            try:
                out = {"text": env.from_string(t).render(**copy.deepcopy(VARS))}
                if " at 0x" in out["text"] or "<" in out["text"] and "jinja2" in out["text"]:
                    out = {"object": True}  # Python's text of an object says where it lies in memory
            except Exception as e:  # noqa: BLE001
                out = {"error": f"{type(e).__name__}: {e}"[:120]}
            cases.append({"mode": mode, "template": t, **out})
    with open(sys.argv[1], "w") as f:
        f.write('{"jinja2": ' + json.dumps(jinja2.__version__) + ', "vars": ' + json.dumps(VARS, ensure_ascii=False) + ', "cases": [\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]}\n")
    print(len(cases), "cases")


main()
