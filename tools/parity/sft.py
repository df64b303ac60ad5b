"""Tunes with TRL's SFTTrainer and writes what chat's and runtime's tests compare with: sft.py OUT [IDS].

OUT/NAME holds, for a tokenizer with a token that begins texts (sentencepiece-like) and one without (byte-level), a random LLaMA with its
tokenizer and chat template, rows of every form, and expected.json: the ids and labels that SFTTrainer makes of each row, and the loss that
it computes on all of them, packed and not. IDS is where the ids and labels alone are written, small enough to be checked in."""
import copy, json, os, random, sys, tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_DISABLED"] = "true"
import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

WORDS = "the of and in to a was is for on as by with he that at from his it an were which are be this has also had".split()
MARKED = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}"
          "{% endgeneration %}{{ '\n' }}{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def say(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, n))) + rng.choice(["", ".", "?", " é日👩‍💻", "\n\n```x```", "  "])


def rows():
    rng = random.Random(1)
    chats, pairs, texts = [], [], []
    for i in range(12):
        m = [{"role": "system", "content": say(rng, 5)}] if i % 3 == 0 else []
        for _ in range(1 + i % 3):
            m += [{"role": "user", "content": say(rng, 9)}, {"role": "assistant", "content": say(rng, 12)}]
        chats.append({"messages": m})
        pairs.append({"prompt": m[:-1], "completion": m[-1:]})
        texts.append({"prompt": say(rng, 9) + " ", "completion": say(rng, 9).strip() or "x"})
    return {"messages": chats, "conversational": pairs, "text": texts}


def tokenizers():
    rng = random.Random(2)
    corpus = [say(rng, 30) for _ in range(300)] + ["assistant user system"] * 20
    for name in ("byte-level", "with-bos"):
        tok = Tokenizer(models.BPE())
        special = ["<unk>", "<s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tok.decoder = decoders.ByteLevel()
        tok.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        if name == "with-bos":
            tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tok.token_to_id("<s>"))])
        fast = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<|endoftext|>", pad_token="<unk>", bos_token="<s>" if name == "with-bos" else None)
        yield name, fast


SHORT = 24  # tokens, fewer than most rows have


def cut(model, tok, data, on):
    """What TRL makes of rows that do not fit into a sequence, by each way to cut them: ids, labels and the loss on all of them."""
    ways = {}
    for way in ("keep_start", "keep_end", "wrapped"):
        with tempfile.TemporaryDirectory() as tmp:
            wrapped = way == "wrapped"
            args = SFTConfig(output_dir=tmp, max_length=SHORT, packing=wrapped, packing_strategy="wrapped" if wrapped else "bfd",
                             padding_free=False, truncation_mode="keep_start" if wrapped else way,
                             assistant_only_loss=on == "assistant",
                             completion_only_loss={"assistant": None, "completion": True, "all": False}[on],
                             report_to=[], per_device_train_batch_size=64, use_cpu=True, bf16=False, shuffle_dataset=False,
                             dataset_num_proc=None, gradient_checkpointing=False)
            model.set_attn_implementation("eager")
            t = SFTTrainer(model=copy.deepcopy(model), args=args, train_dataset=Dataset.from_list(copy.deepcopy(data)),
                           processing_class=tok)
            d = t.train_dataset
            ids, labels = d["input_ids"][:], d["labels"][:]
            batch = t.data_collator([{"input_ids": i, "labels": l} for i, l in zip(ids, labels)])
            with torch.no_grad():
                loss = t.model(**{k: v for k, v in batch.items() if k in ("input_ids", "labels", "attention_mask")}).loss.double().item()
            ways[way] = {"ids": ids, "labels": labels, "loss": loss}
    return ways


def main(out, ids_out=None):
    torch.set_num_threads(2)
    summary = {"trl": trl.__version__, "template": MARKED, "sets": []}
    for name, tok in tokenizers():
        folder = Path(out) / name
        torch.manual_seed(3)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tok), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                             max_position_embeddings=256, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, initializer_range=0.2))
        tok.chat_template = MARKED
        model.save_pretrained(folder)
        tok.save_pretrained(folder)
        for form, data in rows().items():
            with open(folder / f"{form}.jsonl", "w") as f:
                f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in data)
            for on in ("assistant", "completion", "all"):
                if form == "text" and on == "assistant" or form == "messages" and on == "completion":
                    continue
                one = {"tokenizer": name, "form": form, "loss_on": on, "cut": cut(model, tok, data, on)}
                for packing in (False, True):
                    with tempfile.TemporaryDirectory() as tmp:
                        args = SFTConfig(output_dir=tmp, max_length=128, packing=packing, assistant_only_loss=on == "assistant", completion_only_loss={"assistant": None, "completion": True, "all": False}[on],
                                         report_to=[], per_device_train_batch_size=64, use_cpu=True, bf16=False, shuffle_dataset=False, dataset_num_proc=None, gradient_checkpointing=False,
                                         **({"padding_free": False} if not packing else {}))
                        model.set_attn_implementation("eager")
                        t = SFTTrainer(model=copy.deepcopy(model), args=args, train_dataset=Dataset.from_list(copy.deepcopy(data)), processing_class=tok)
                        d = t.train_dataset
                        if not packing:
                            one["ids"], one["labels"] = d["input_ids"][:], d["labels"][:]
                            batch = t.data_collator([d[i] for i in range(len(d))])
                            with torch.no_grad():
                                one["loss"] = t.model(**{k: v for k, v in batch.items() if k in ("input_ids", "labels", "attention_mask")}).loss.double().item()
                        else:
                            one["packed"] = len(d)
                            # the labels that are left of a packed sequence: the first token of each conversation predicts nothing new
                            batch = t.data_collator([d[i] for i in range(len(d))])
                            one["packed_targets"] = int((batch["labels"] != -100).sum())
                summary["sets"].append(one)
                print(name, form, on, "loss %.6f" % one["loss"], one["packed"], "sequences packed,", one["packed_targets"], "labels")
        with open(folder / "expected.json", "w") as f:
            json.dump([s for s in summary["sets"] if s["tokenizer"] == name], f)
    if ids_out:
        small = dict(summary)
        small["tokenizers"] = {name: json.loads((Path(out) / name / "tokenizer.json").read_text()) for name in ("byte-level", "with-bos")}
        small["rows"] = rows()
        for r in small["rows"]:
            small["rows"][r] = small["rows"][r][:5]
        small["sets"] = [{**{k: s[k] for k in ("tokenizer", "form", "loss_on")}, "ids": s["ids"][:5], "labels": s["labels"][:5]} for s in summary["sets"]]
        with open(ids_out, "w") as f:
            json.dump(small, f, ensure_ascii=False)


main(*sys.argv[1:])
