"""Renders conversations with the chat templates that TRL brings, and some of llama-cpp-python, by transformers' own
apply_chat_template, and writes what chat's tests compare with.

usage: chat_templates.py OUT [-small]"""
import datetime, json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
from pathlib import Path
import trl, llama_cpp.llama_chat_format as lc, transformers
from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import render_jinja_template, _normalize_chat_messages


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 9, 5, 3)


chat_template_utils.datetime = Fixed  # templates that write today's date

TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather <in> a city & 'more'.", "parameters": {"type": "object", "properties": {
    "city": {"type": "string", "description": "City, such as Zürich"}, "days": {"type": "integer", "default": 1}}, "required": ["city"]}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}}
U, A, S = (lambda c: {"role": "user", "content": c}), (lambda c: {"role": "assistant", "content": c}), (lambda c: {"role": "system", "content": c})
CONVERSATIONS = {
    "one": [U("Hello, who are you?"), A("I am a model.")],
    "prompt": [U("Hello?")],
    "system": [S("You are terse."), U("Why is the sky blue?"), A("Rayleigh scattering.")],
    "turns": [S("You are terse."), U("1+1?"), A("2"), U("  and 2+2?\n"), A(" 4 \n"), U("Danke!"), A("Bitte.")],
    "nosystem": [U("a"), A("b"), U("c"), A("d")],
    "unicode": [U("Grüße 👩‍💻 日本語 \"q\" 'a' <b> & \\n \t"), A("ﬁ ß\n\n```go\nfunc main() {}\n```")],
    "thinking": [U("2*3?"), A("<think>\nSix.\n</think>\n\n6"), U("3*3?"), A("<think>\nNine.\n</think>\n\n9")],
    "reasoning": [U("2*3?"), {"role": "assistant", "reasoning_content": "Six it is.", "content": "6"}, U("ok")],
    "tools": [S("Use tools."), U("Weather in Zürich?"), {"role": "assistant", "content": "", "tool_calls": [CALL]},
              {"role": "tool", "tool_call_id": "call_1", "name": "get_weather", "content": "{\"sky\": \"clear\"}"}, A("Clear."), U("Thanks")],
    "toolsnull": [U("Weather?"), {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "rain"}, A("Rain.")],
    "order": [A("I start."), U("ok")],
    "twice": [U("a"), U("b"), A("c")],
    "empty": [U(""), A("x")],
    "developer": [{"role": "developer", "content": "Be kind."}, U("hi"), A("ho")],
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def templates():
    d = Path(trl.__file__).parent / "chat_templates"
    for p in sorted(d.glob("*.jinja")):
        yield "trl/" + p.stem, p.read_text()
    for n in ("CHATML_CHAT_TEMPLATE", "MISTRAL_INSTRUCT_CHAT_TEMPLATE", "MIXTRAL_INSTRUCT_CHAT_TEMPLATE", "LLAMA3_INSTRUCT_CHAT_TEMPLATE"):
        yield "llama_cpp/" + n.lower(), getattr(lc, n)


SMALL = ["trl/" + n for n in ("llama3", "llama3_1", "gemma", "gemma3", "qwen2_5", "qwen2_5_training", "qwen3", "qwen3_training", "phi3", "phi3_5", "deepseekv3",
                              "deepseek_r1_distill", "cohere", "cohere2", "glm4moe", "lfm2", "smolvlm", "qwen3_instruct_2507")] + ["llama_cpp/chatml_chat_template", "llama_cpp/mistral_instruct_chat_template"]


def main():
    small = "-small" in sys.argv
    out = {"transformers": transformers.__version__, "trl": trl.__version__, "special": SPECIAL, "conversations": CONVERSATIONS, "tools": [TOOL], "templates": {}, "cases": []}
    for name, text in templates():
        if small and name not in SMALL:
            continue
        out["templates"][name] = text
        marks = "generation" in text
        for cname, messages in CONVERSATIONS.items():
            for tools in ([TOOL], None) if "tools" in cname or cname == "one" else (None,):
                for prompt in (False, True):
                    for kw in ({}, {"enable_thinking": False}) if "enable_thinking" in text and not small else ({},):
                        case = {"template": name, "conversation": cname, "tools": tools is not None, "prompt": prompt, "variables": kw}
                        try:
                            r, spans = render_jinja_template(conversations=[_normalize_chat_messages(messages)], tools=tools, chat_template=text, add_generation_prompt=prompt,
                                                             return_assistant_tokens_mask=marks, **SPECIAL, **kw)
                            case["text"] = r[0]
                            if marks:
                                b = lambda i: len(r[0][:i].encode())
                                case["spans"] = [[b(a), b(z)] for a, z in spans[0]]
                        except Exception as e:  # noqa: BLE001
                            case["error"] = f"{type(e).__name__}: {e}"[:160]
                        out["cases"].append(case)
    with open(sys.argv[1], "w") as f:
        json.dump(out, f, ensure_ascii=False)
    print(len(out["templates"]), "templates,", len(out["cases"]), "cases,", sum("error" in c for c in out["cases"]), "errors")


main()
