"""Which architectures of transformers `dashpot.shrink` makes smaller with the same outputs, and which it refuses.

Each is built from a tiny configuration without weights, in float64; of each weight matrix and filter bank 30 % of the
rows are zeros, and no bias or shift is. A network counts as

- exact: it became smaller, and outputs on fresh inputs are equal to 1e-9 of the largest one;
- kept: nothing left it although rows are zero, and the report says why;
- refused: an error that names the reason;
- wrong: outputs differ, or an error of another kind.

What cannot be built or called with so small a configuration is counted apart. Where torchvision and timm are installed,
their architectures of ``TORCHVISION`` and ``TIMM`` follow at their own size, on pictures of 64 pixels where they take
them (torchvision also without its compiled operators, which these do not use).

Run: ``python benchmarks/quality/shrink_coverage.py`` (an hour on one core). Result: ``results/shrink-coverage.json``.
With names, such as ``bert``, ``torchvision:resnet18`` or ``timm:resnet18``, or with ``--of timm``, and ``--result
FILE`` the rows of these architectures take the place of those in the file.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import io
import json
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import write_result

import dashpot
from dashpot.core.errors import DashpotError

TEXT = (
    *("bert", "roberta", "electra", "distilbert", "albert", "xlm-roberta", "camembert", "mpnet", "ernie", "roformer"),
    *("deberta", "deberta-v2", "squeezebert", "convbert", "mobilebert", "nystromformer", "esm", "fnet", "modernbert"),
    *("gpt2", "gpt_neo", "gpt_neox", "gptj", "codegen", "opt", "bloom", "falcon", "mpt", "xglm"),
    *(
        "llama",
        "mistral",
        "gemma",
        "gemma2",
        "qwen2",
        "qwen3",
        "phi",
        "phi3",
        "stablelm",
        "starcoder2",
        "olmo",
        "cohere",
    ),
)
BOTH = ("t5", "bart", "pegasus", "mbart", "marian", "blenderbot", "m2m_100", "plbart")
IMAGES = (
    *("vit", "deit", "beit", "dinov2", "swin", "convnext", "convnextv2", "resnet", "regnet", "mobilenet_v1"),
    *(
        "mobilenet_v2",
        "mobilevit",
        "segformer",
        "poolformer",
        "pvt",
        "cvt",
        "efficientnet",
        "focalnet",
        "ijepa",
        "levit",
    ),
)
TORCHVISION = (
    *("alexnet", "vgg11_bn", "resnet18", "resnet50", "resnext50_32x4d", "densenet121", "googlenet", "inception_v3"),
    *("squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0"),
    *("efficientnet_v2_s", "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny", "vit_b_32", "swin_t", "swin_v2_t"),
    "maxvit_t",
)
TIMM = (
    *("resnet18", "resnet26d", "resnext26ts", "seresnext26d_32x4d", "skresnet18", "resnest14d", "res2net50_14w_8s"),
    *("densenet121", "dla34", "dpn48b", "vgg11", "hrnet_w18_small", "cspresnet50", "ese_vovnet19b_dw", "selecsls42"),
    *("convnext_atto", "convnextv2_atto", "efficientnet_lite0", "mobilenetv3_small_050", "mobilenetv4_conv_small"),
    *("mnasnet_small", "ghostnet_100", "regnetx_002", "regnety_002", "repvgg_a0", "rexnet_100", "tinynet_e"),
    *("nf_resnet26", "eca_nfnet_l0", "inception_v4", "mobileone_s0", "fastvit_t8", "repvit_m0_9", "edgenext_xx_small"),
    *("vit_tiny_patch16_224", "deit3_small_patch16_224", "deit_tiny_distilled_patch16_224"),
    *("cait_xxs24_224", "pit_ti_224", "xcit_nano_12_p16_224", "convit_tiny", "levit_128s", "mixer_s16_224"),
    *("gmlp_ti16_224", "resmlp_12_224", "poolformer_s12", "mobilevit_xxs", "efficientformer_l1"),
    *("swin_tiny_patch4_window7_224", "coatnet_nano_rw_224", "maxvit_pico_rw_256", "nest_tiny"),
    *("twins_svt_small", "pvt_v2_b0", "visformer_tiny", "tnt_s_legacy_patch16_224", "volo_d1_224", "sequencer2d_s"),
    *("focalnet_tiny_srf", "davit_tiny", "eva02_tiny_patch14_224"),
)
SMALL: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "embedding_size", "word_embed_proj_dim"), 16
    ),
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "hidden_dim", "n_inner", "encoder_ffn_dim"), 24),
    **dict.fromkeys(("decoder_ffn_dim", "ffn_hidden_size", "intermediate_dim"), 24),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_decoder_layers",), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_key_value_heads"), 4),
    "vocab_size": 40,
    "max_position_embeddings": 32,
    "n_positions": 32,
    "n_ctx": 32,
    "max_seq_len": 32,
    "d_kv": 4,
    "head_dim": 4,
    "rotary_dim": 4,
    "image_size": 32,
    "patch_size": 8,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
    "true_hidden_size": 16,
    "attention_types": [[["global"], 2]],
    "global_attn_every_n_layers": 1,
    "partial_rotary_factor": 0.5,
    "attention_dropout": 0.0,
}
SIZES: dict[str, dict[str, Any]] = {
    "swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 2, "patch_size": 4},
    "convnext": {"hidden_sizes": [16, 24], "depths": [1, 1], "num_stages": 2, "patch_size": 4},
    "convnextv2": {"hidden_sizes": [16, 24], "depths": [1, 1], "num_stages": 2, "patch_size": 4},
    "resnet": {"embedding_size": 16, "hidden_sizes": [16, 24], "depths": [1, 1], "layer_type": "basic"},
    "regnet": {"embedding_size": 16, "hidden_sizes": [16, 24], "depths": [1, 1], "groups_width": 8},
    "segformer": {"hidden_sizes": [16, 16, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 2, 4, 4]},
    "poolformer": {"hidden_sizes": [16, 24, 24, 24], "depths": [1] * 4},
    "gptj": {"rotary_dim": 4},
    "mobilenet_v1": {"depth_multiplier": 0.25},
    "mobilenet_v2": {"depth_multiplier": 0.25},
}
OWN = ("mobilenet_v1", "mobilenet_v2", "mobilevit", "cvt", "efficientnet", "focalnet", "levit", "pvt", "poolformer")
"""What keeps the sizes of its own configuration but for those above."""
SECONDS, LARGEST = 300.0, 30_000_000


def configured(kind: str) -> nn.Module:
    """A small network of transformers."""
    from transformers import AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    made = CONFIG_MAPPING[kind]
    known = set(made().to_dict())
    sizes = {} if kind in OWN else {name: value for name, value in SMALL.items() if name in known}
    if kind in IMAGES:
        sizes["image_size"] = 32
    config = made(**{**sizes, **SIZES.get(kind, {})})
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModel.from_config(copy.deepcopy(config)).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} parameters")
    return AutoModel.from_config(config)


def of_pictures(kind: str) -> tuple[nn.Module, int]:
    """A network of torchvision or timm, and the size of pictures that it takes."""
    package, _, name = kind.partition(":")
    if package == "timm":
        import timm

        network = timm.create_model(name, num_classes=10)
        fixed = network.pretrained_cfg.get("fixed_input_size", False)
        return network, int(network.pretrained_cfg["input_size"][-1]) if fixed else 96 if name == "inception_v4" else 64
    import torchvision

    options: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    if name.startswith(("vit", "maxvit")):
        options, size = ({"image_size": 64}, 64) if name.startswith("vit") else ({}, 224)
    else:
        size = 96 if name == "inception_v3" else 64
    return torchvision.models.get_model(name, weights=None, num_classes=10, **options), size


def without_operators() -> None:
    """Names for torchvision's compiled operators, so that it can be imported where they are not built."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    KEPT.append(library)


KEPT: list[Any] = []


def example(kind: str, size: int = 32) -> dict[str, Tensor]:
    """What it is called with."""
    if ":" in kind or kind in IMAGES:
        word = "x" if ":" in kind else "pixel_values"
        return {word: torch.randn(2, 3, size, size, dtype=torch.float64)}
    given = {"input_ids": torch.randint(3, 40, (2, 8))}
    return {**given, "decoder_input_ids": torch.randint(3, 40, (2, 5))} if kind in BOTH else given


@torch.no_grad()
def planted(model: nn.Module) -> nn.Module:
    """Zeros in rows of each layer; biases, shifts and statistics are not zero."""
    model = model.double().eval()
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and tensor.ndim == 1 and tensor.is_floating_point():
                tensor.add_(0.1 + 0.3 * torch.rand_like(tensor))
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim > 1 and not isinstance(module, nn.Embedding):
            if not weight.any():  # as a head begins in some, of which nothing would have to be kept
                weight.normal_(std=0.02)
            rows = weight.t() if type(module).__name__ == "Conv1D" else weight
            rows[torch.rand(len(rows)) < 0.3] = 0
    return model


def first(out: Any) -> Tensor:
    """The first tensor of what a network gives."""
    if isinstance(out, Tensor):
        return out
    leaves = out.values() if isinstance(out, dict) else out
    return next(leaf for leaf in leaves if isinstance(leaf, Tensor))


def built(kind: str) -> tuple[nn.Module, dict[str, Tensor], int]:
    """The network with zeros, an example that it takes, and the size of its pictures."""
    torch.manual_seed(0)
    model, size = of_pictures(kind) if ":" in kind else (configured(kind), 32)
    model, given = planted(model), example(kind, size)
    with torch.no_grad():
        model(**given)
    return model, given, size


def tried(kind: str) -> dict[str, Any]:
    """What becomes of one architecture."""
    row: dict[str, Any] = {"name": kind}
    try:
        model, given, size = built(kind)
    except Exception as error:  # whatever a configuration that is made so small leads to
        return {**row, "result": "not built", "why": f"{type(error).__name__}: {error}"[:160]}
    started = time.perf_counter()
    try:
        found = dashpot.shrink(model, given)
    except DashpotError as error:
        return {**row, "result": "refused", "why": str(error)[:240]}
    except Exception as error:  # counted as wrong
        return {**row, "result": "wrong", "why": f"{type(error).__name__}: {error}"[:240]}
    torch.manual_seed(1)
    fresh = example(kind, size)
    with torch.no_grad():
        wanted, got = first(model(**fresh)), first(found.model(**fresh))
    apart = float((wanted - got).abs().max() / wanted.abs().max())
    row |= {"before": found.before.parameters, "after": found.after.parameters, "difference": apart}
    row |= {"seconds": round(time.perf_counter() - started, 2), "stayed": dict(found.stayed)}
    exact = apart <= 1e-9
    return {**row, "result": "wrong" if not exact else "exact" if found.after.parameters < row["before"] else "kept"}


def main() -> None:
    """Try all, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="architectures; all by default")
    parser.add_argument("--of", default="transformers,torchvision,timm", help="packages, where no names are given")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that one may take")
    parser.add_argument("--result", type=Path, default=None, help="a file for the result, instead of results/")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    every = {"transformers": (*TEXT, *BOTH, *IMAGES), **dict.fromkeys(("torchvision", "timm"), ())}
    if importlib.util.find_spec("torchvision") is not None:
        try:
            import torchvision  # noqa: F401
        except (RuntimeError, OSError, ImportError):
            without_operators()
        every["torchvision"] = tuple(f"torchvision:{name}" for name in TORCHVISION)
        if importlib.util.find_spec("timm") is not None:
            every["timm"] = tuple(f"timm:{name}" for name in TIMM)
    names = given.names or [name for package in given.of.split(",") for name in every[package]]

    # In a process of its own, so that one that does not end, or ends the process, is counted, too.
    context = multiprocessing.get_context("fork")
    before = given.result is not None and given.result.exists()  # the others were tried before
    rows = {row["name"]: row for row in json.loads(given.result.read_text())["architectures"]} if before else {}
    for kind in names:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=lambda kind=kind, out=theirs: out.send(tried(kind)))
        process.start()
        row = {"name": kind, "result": "late", "why": f"more than {given.seconds} s"}
        if ours.poll(given.seconds):
            row = ours.recv()
        process.kill()
        process.join()
        rows[kind] = row
        print(kind, row["result"], row.get("why", f"{row.get('before')} -> {row.get('after')}"), flush=True)
        if not given.names or given.result:
            counts = dict(Counter(str(row["result"]) for row in rows.values()))
            with contextlib.redirect_stdout(io.StringIO()):  # it prints all of it
                write_result("shrink-coverage", {"counts": counts, "architectures": list(rows.values())}, given.result)
    print(dict(Counter(str(row["result"]) for row in rows.values())))


if __name__ == "__main__":
    main()
