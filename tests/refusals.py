"""Every public function of lib, one valid call each, and the bad calls that follow from it: `python -m tests.refusals`.

Runs in a plain interpreter, without the shape checks that pytest adds, so that what is refused is refused for readers
too. Prints every bad call that got through or was not answered by a ValueError saying what it got.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import lib

matplotlib.use("agg")


@dataclass
class Call:
    """Arguments of a valid call. `odd`: even dimensions; `free`: arguments that may be anything, with the reason."""

    kwargs: dict[str, Any]
    args: tuple[Any, ...] = ()
    odd: tuple[str, ...] = ()
    free: dict[str, str] = field(default_factory=dict)


def t(*shape: int) -> torch.Tensor:
    return torch.linspace(-1, 1, math.prod(shape)).reshape(shape) + 0.01


def a(*shape: int) -> np.ndarray:
    return t(*shape).double().numpy()


def ids(*shape: int, low: int = 2) -> torch.Tensor:
    return torch.arange(math.prod(shape)).reshape(shape) % 3 + low


def axes() -> Any:
    from lib import figures

    return figures.panel()[1]


def model(input_ids: torch.Tensor) -> Any:
    return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 9))


model.device = "cpu"  # type: ignore[attr-defined]
TOKENIZER = SimpleNamespace(cls_token_id=0, sep_token_id=1, mask_token_id=2)
QKV = {"q": t(2, 3, 4, 6), "k": t(2, 3, 5, 6), "v": t(2, 3, 5, 7)}
QK = {name: QKV[name] for name in "qk"}
MAP = Call(QK)
RELU_NET = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
ROWS = {"x": t(2, 3), "baseline": torch.zeros(2, 3), "target": torch.tensor([0, 1])}
GRID = np.linspace(0, 1, 200)
FLAT_NET = nn.Sequential(nn.Flatten(), RELU_NET)
NOISED = {"x": t(2, 3, 1), "generator": torch.Generator()}


def derived() -> dict[str, torch.Tensor]:
    """An input that requires a gradient, and outputs computed from it."""
    x = t(2, 3, 1).requires_grad_()
    return {"x": x, "outputs": FLAT_NET(x)}


RNG = np.random.default_rng(0)
ORDERS = np.array([[0, 1], [1, 0]])


def table() -> dict[str, Call]:
    """A valid call of every public function and constructor that takes numbers or arrays."""
    from lib import hotwater, quadrature, rope2d, waterpipe
    from lib.data import words
    from lib.networks import GRULM, TextCNN
    from lib.patches import PatchClassifier
    from lib.rerope import PositionMap
    from lib.synthesizer import Dense, Synthesizer
    from lib.transformer import Config, encoder
    from lib.univae import Sphere, UniVAE
    from lib.vmf import VonMisesFisher

    doubled = encoder(Config(vocab=9, d=8, heads=2, segments=2))
    vae = UniVAE(doubled, Sphere(4, 3.0), length=4, latents=1)
    tabled = Config(vocab=9, d=8, heads=2, max_len=4)
    corpus = words.sentences(2, 6, words=3, letters=3, word_length=2, seed=0)
    words_of = {"words": 3, "letters": 3, "word_length": 2, "seed": 0}
    directions = {"m": 3, "d": 4, "draws": 2}
    law = {"n": a(3) + 8, "kappa": 0.5}
    pipe = waterpipe.Pipe(20.0, 0.025, 0.0035)
    return {
        "config.seed": Call({"k": 0}),
        "config.seeds": Call({"count": 2}),
        "config.generator": Call({"k": 0}),
        "config.rng": Call({"k": 0}),
        "rules.Within": Call({"abs": 0.1, "rel": 0.1}),
        "rules.AtLeast": Call({"bound": 1.0}),
        "rules.AtMost": Call({"bound": 1.0}),
        "rules.SlopeIn": Call({"low": 0.0, "high": 1.0}),
        "rules.Ordering": Call({"ratio": 1.5}, args=("a", "b")),
        "rules.slope": Call({"x": a(3) + 2, "y": a(3) + 2}),
        "figures.panel": Call({"columns": 1, "rows": 1}),
        "figures.band": Call(
            {"ax": axes(), "x": a(3), "runs": a(2, 3), "colour": "k"}, free={"x": "matplotlib leaves a gap"}
        ),
        "figures.matrix": Call({"ax": axes(), "M": a(2, 3)}),
        "figures.heat_tokens": Call({"ax": axes(), "tokens": ["a", "b"], "scores": a(2)}),
        "activations.gelu": Call(
            {"x": t(3), "form": "tanh", "coefficient": 0.04}, free={"x": "like torch's kernel: elementwise on anything"}
        ),
        "activations.gelu_grad": Call(
            {"x": t(3), "form": "tanh", "coefficient": 0.04}, free={"x": "like torch's kernel: elementwise on anything"}
        ),
        "activations.Activation": Call({"form": "tanh", "coefficient": 0.04}),
        "approx.extrema": Call({"error": np.sin, "grid": GRID}),
        "approx.sup": Call({"error": np.sin, "grid": GRID}),
        "approx.minimax": Call(
            {"f": np.exp, "g": lambda x, p: p + 0 * x, "start": (1.0,), "grid": GRID, "iterations": 60}
        ),
        "quadrature.rule": Call({"name": "left", "n": 3}),
        "quadrature.on_pieces": Call({"inner": quadrature.rule("gauss", 2), "breaks": np.array([0, 0.3, 1])}),
        "dims.entropy_correction": Call(law),
        "dims.entropy_asymptote": Call(law),
        "dims.freezing_constant": Call({"kappa": 0.5}),
        "dims.annealed_entropy": Call({"N": 100.0, **law}),
        "dims.critical_dimension": Call({"N": 100.0, "kappa": 1.0}),
        "dims.softmax_entropies": Call({"U": a(3, 4), "V": a(5, 4)}),
        "dims.random_vectors": Call({"N": 3, "n": 4, "kappa": 1.0, "seed": 0}),
        "dims.sample_entropy": Call({"N": 3, "n": 4, "kappa": 1.0, "seed": 0}),
        "entropy.attention_entropy": Call({"weights": t(2, 3, 4).softmax(-1)}),
        "entropy.sphere_shift": Call({"lam": 0.5, "d": 8}),
        "entropy.sphere_shift_laplace": Call({"lam": 0.5, "d": 8}),
        "entropy.best_beta": Call({"scores": t(4, 3), "target": torch.tensor([2, 2, 2, 1]), "tol": 1e-4}),
        "entropy.lead": Call({"scores": t(4, 3), "target": torch.tensor([2, 2, 2, 1])}),
        "entropy.log_odds": Call({"margin": 2.0, "sigma": 1.0, "n": 8, "factor": 1.5}),
        "projections.gaussian_projection": Call({"D": 3, "n": 2, "seed": 0}),
        "projections.distortion": Call({"X": a(4, 3), "Y": a(4, 2)}),
        "projections.jl_dimension": Call({"N": 100.0, "eps": 0.5, "constant": 8.0}),
        "projections.jl_success": Call({"X": a(4, 3), "eps": 0.5, "dims": [2, 4]}),
        "projections.simhash_cosine": Call({"c": a(3) / 2}),
        "projections.range_finder": Call({"M": a(4, 3), "k": 2, "seed": 0}),
        "projections.randomized_svd": Call({"M": a(4, 3), "k": 2, "seed": 0}),
        "linalg.spectrum": Call({"A": t(2, 3)}),
        "linalg.effective_rank": Call({"A": t(2, 3)}),
        "linalg.numerical_rank": Call({"A": t(2, 3), "rel": 1e-6}),
        "moments.moments": Call({"X": t(4, 2), "y": ids(4, low=0), "classes": 3}),
        "moments.residuals": Call({"X": t(4, 2).double(), "y": ids(4, low=0), "mean": t(3, 2).double()}),
        "moments.whitening": Call({"covariance": torch.eye(3), "rank_tol": 1e-6}),
        "lda.fit_gaussian_linear": Call(
            {"X": t(9, 2).sin(), "y": ids(9, low=0), "classes": 3, "shrinkage": 0.5, "prior": torch.ones(3)}
        ),
        "lda.relative_logits": Call({"Z": t(2, 3)}),
        "lda.ledoit_wolf": Call({"Z": t(4, 2)}),
        "lda.loo_log_loss": Call({"X": t(9, 2).sin(), "y": ids(9, low=0), "classes": 3, "grid": (0.1, 0.5)}),
        "lda.efron_are": Call({"delta": 1.0}),
        "logistic.max_likelihood": Call(
            {
                "X": t(4, 2),
                "y": torch.tensor([0, 1, 0, 1]),
                "start": torch.zeros(3),
                "ridge": 0.1,
                "steps": 5,
                "tol": 0.1,
            }
        ),
        "logistic.gradient_descent": Call(
            {"X": t(6, 2), "y": ids(6, low=0), "classes": 3, "epochs": 1, "seed": 0, "lr": 0.1, "size": 2}
        ),
        "logistic.l2_by_cv": Call(
            {"X": t(9, 2), "y": ids(9, low=0), "classes": 3, "strengths": (0.1, 1.0), "folds": 3}
        ),
        "networks.mlp": Call({"sizes": (3, 2), "seed": 0}),
        "networks.TextCNN": Call({"vocab": 9, "classes": 2, "d": 4, "filters": 4, "width": 3, "seed": 0}),
        "features.elu1": MAP,
        "features.relu": MAP,
        "features.exp": MAP,
        "features.exp_causal": MAP,
        "features.one_plus_cos": MAP,
        "features.identity": MAP,
        "features.double_softmax": MAP,
        "features.taylor2": MAP,
        "masks.causal": Call({"n": 2, "m": 3}),
        "masks.band": Call({"n": 3, "width": 1}),
        "masks.padding": Call({"keep": torch.tensor([2, 1]), "m": 3}),
        "masks.prefix": Call({"segments": torch.tensor([[0, 1, 1]])}),
        "masks.uniae": Call({"segments": torch.tensor([[0, 1, 1]]), "shared": 1}),
        "vmf.mean_resultant": Call({"d": 4, "kappa": 3.0}),
        "vmf.kl_to_uniform": Call({"d": 4, "kappa": 3.0}),
        "vmf.VonMisesFisher": Call({"d": 4, "kappa": 3.0, "table": 200}),
        "vmf.VonMisesFisher.cosine": Call({"self": VonMisesFisher(4, 3.0), "u": t(3).abs() / 2}),
        "vmf.VonMisesFisher.sample": Call(
            {"self": VonMisesFisher(4, 3.0), "mu": F.normalize(t(2, 4)), "noise": t(2, 5)}
        ),
        "univae.Sphere": Call({"d": 4, "kappa": 3.0}),
        "univae.Gaussian": Call({"d": 4}),
        "univae.UniVAE": Call({"trunk": doubled, "posterior": Sphere(4, 3.0), "length": 4, "latents": 1}),
        "univae.UniVAE.forward": Call({"self": vae, "ids": ids(2, 4), "noise": t(2, 1, 5)}),
        "univae.UniVAE.decode_logits": Call({"self": vae, "codes": t(2, 1, 4), "out_ids": ids(2, 4)}),
        "univae.UniVAE.generate": Call(
            {"self": vae, "codes": t(2, 1, 4), "start": 1, "end": 2}, free={"end": "any id, or none that occurs"}
        ),
        "univae.reconstruction": Call({"logits": t(2, 3, 5), "ids": ids(2, 3), "pad": 0}, free={"pad": "any id"}),
        "univae.elbo_loss": Call({"weight": 1.0, "free": 0.1}),
        "univae.slerp": Call({"a": F.normalize(t(2, 4)), "b": F.normalize(-t(2, 4)), "t": 0.5}),
        "data.questions.decode": Call({"ids": ids(4)}),
        "data.questions.split": Call({"test": 3, "seed": 0}),
        "attention.softmax_attention": Call({**QKV, "scale": 0.5}),
        "attention.attention_weights": Call({**QK, "scale": 0.5}),
        "attention.length_scale": Call({"q": QKV["q"], "m": 5, "base": 512.0}),
        "biases.relative": Call({"n": 2, "m": 3}),
        "biases.t5_bucket": Call({"distance": ids(2, 3), "both": True, "buckets": 8, "furthest": 20}),
        "biases.T5Bias": Call({"heads": 2, "both": True}),
        "biases.Alibi": Call({"heads": 2}),
        "norms.ConditionalLayerNorm": Call({"d": 4, "condition": 3}),
        "cache.Cache": Call({"capacity": 3}),
        "associative.unit_keys": Call({"generator": torch.Generator()}, args=(2, 3)),
        "associative.hebbian": Call({"k": t(2, 4, 3), "v": t(2, 4, 5)}),
        "associative.delta": Call({"k": t(2, 4, 3), "v": t(2, 4, 5), "beta": 0.5}),
        "associative.recall_error": Call({"S": t(2, 3, 5), "k": t(2, 4, 3), "v": t(2, 4, 5)}),
        "associative.hebbian_law": Call({"n": 3, "d": 4}),
        "associative.delta_law": Call({"n": 3, "d": 4}),
        "linear_attention.linear_weights": Call({**QK, "eps": 0.0}),
        "linear_attention.linear_attention": Call({**QKV, "chunk": 2, "eps": 0.0}),
        "random_features.gaussian": Call(directions),
        "random_features.orthogonal": Call(directions),
        "random_features.positive": Call({"x": t(4, 6), "W": t(5, 6)}),
        "random_features.hyperbolic": Call({"x": t(4, 6), "W": t(5, 6)}),
        "random_features.trig": Call({"x": t(4, 6), "W": t(5, 6)}),
        "random_features.relative_variance": Call({"kind": "trig", "s": 1.0, "t": 1.0, "m": 3}),
        "random_features.favor_attention": Call({**QKV, "W": t(5, 6), "chunk": 2}),
        "positions.frequencies": Call({"d": 8, "base": 100.0}, odd=("d",)),
        "positions.phases": Call({"positions": t(3), "d": 8, "base": 100.0}, odd=("d",)),
        "positions.rotate": Call({"x": t(2, 3, 8), "phase": torch.polar(t(3, 4), t(3, 4))}),
        "positions.rotate_halves": Call({"x": t(2, 3, 8), "phase": torch.polar(t(3, 4), t(3, 4))}),
        "positions.to_halves": Call({"x": t(2, 8)}, odd=()),
        "positions.to_interleaved": Call({"x": t(2, 8)}, odd=()),
        "positions.rotary": Call({"n": 3, "d": 8, "base": 100.0}, odd=("d",)),
        "positions.sinusoidal": Call({"n": 3, "d": 8, "base": 100.0}, odd=("d",)),
        "rope2d.grid": Call({}, args=(2, 3)),
        "rope2d.axial": Call({"d": 8, "p": 2, "base": 100.0}, odd=("d",)),
        "rope2d.diagonal": Call({"d": 8, "base": 100.0}, odd=("d",)),
        "rope2d.along": Call({"d": 8, "direction": (1.0, 2.0), "base": 100.0}, odd=("d",)),
        "rope2d.scattered": Call({"d": 8, "base": 100.0, "generator": torch.Generator()}, odd=("d",)),
        "rope2d.plane_phases": Call({"points": t(3, 2), "vectors": t(4, 2)}),
        "rope2d.Plane": Call({"points": t(3, 2), "vectors": t(4, 2)}),
        "rope2d.rotation_matrix": Call({"points": t(3, 2), "vectors": t(4, 2)}),
        "rope2d.rms_chord": Call({"A": t(2, 3, 3), "B": t(2, 3, 3)}),
        "rope2d.relativity_defect": Call(
            {"matrices": lambda p: rope2d.rotation_matrix(p, t(4, 2)), "a": t(3, 2), "b": t(3, 2)}
        ),
        "rope2d.margin": Call({"vectors": t(4, 2), "size": 3}),
        "rope2d.left": Call({"quaternion": t(2, 4)}),
        "rope2d.right": Call({"quaternion": t(2, 4)}),
        "rope2d.quaternion_exp": Call({"v": t(2, 3)}),
        "rerope.PositionMap": Call({"w": 4.0, "k": 2.0}),
        "rerope.PositionMap.leaky": Call({"w": 4, "k": 2}),
        "rerope.PositionMap.self_extend": Call({"w": 4, "g": 2}),
        "rerope.PositionMap.f": Call({"self": PositionMap.rerope(2), "r": t(3)}),
        "rerope.PositionMap.between": Call({"self": PositionMap.rerope(2), "i": t(3), "j": t(3)}),
        "rerope.oracle_logits": Call({**QK, "map": PositionMap.rerope(2), "base": 100.0}),
        "rerope.mapped_logits": Call({**QK, "map": PositionMap.rerope(2), "base": 100.0}),
        "rerope.mapped_attention": Call({"map": PositionMap.rerope(2), "base": 100.0, "block": 2, "scale": 0.5}),
        "extrapolation.interpolated": Call({"d": 8, "s": 2.0, "base": 100.0}, odd=("d",)),
        "extrapolation.ntk": Call({"d": 8, "s": 2.0, "base": 100.0}, odd=("d",)),
        "extrapolation.ntk_fixed": Call({"d": 8, "s": 2.0, "base": 100.0}, odd=("d",)),
        "extrapolation.ntk_mixed": Call({"d": 8, "s": 2.0, "b": 0.5, "base": 100.0}, odd=("d",)),
        "extrapolation.yarn": Call(
            {"d": 8, "s": 2.0, "trained": 32, "fast": 8.0, "slow": 1.0, "base": 100.0}, odd=("d",)
        ),
        "extrapolation.yarn_factor": Call({"s": 2.0}),
        "patches.patches": Call({"images": t(2, 3, 4, 6), "size": 2}),
        "patches.PatchClassifier.forward": Call(
            {"self": PatchClassifier(Config(1, d=8, heads=2), 3, size=2), "images": t(2, 1, 4, 6)}
        ),
        "patches.resized_accuracy": Call(
            {
                "model": PatchClassifier(Config(1, d=8, heads=2), 3, size=2),
                "images": t(2, 1, 4, 4),
                "labels": ids(2, low=0),
                "side": 6,
                "batch": 1,
            }
        ),
        "patches.PatchClassifier": Call({"config": Config(1, d=8, heads=2), "classes": 3, "size": 2, "colours": 1}),
        "transformer.Config": Call({"vocab": 9, "d": 8, "heads": 2, "layers": 1, "hidden": 8, "head_size": 4}),
        "blocks.Attention": Call({"d": 8, "heads": 2, "head_size": 4}),
        "blocks.FeedForward": Call({"d": 8, "hidden": 8}),
        "transformer.token_logits": Call({"hidden": t(2, 4), "embedding": nn.Embedding(9, 4), "bias": t(9)}),
        "transformer.encoder": Call({"config": Config(vocab=9, d=8, heads=2), "seed": 0}),
        "transformer.Encoder.forward": Call(
            {"self": encoder(Config(vocab=9, d=8, heads=2)), "ids": ids(2, 4)},
        ),
        "synthesizer.DotProduct": Call({"c": tabled}),
        "synthesizer.Dense": Call({"c": tabled}),
        "synthesizer.Random": Call({"c": tabled, "std": 1.0}),
        "synthesizer.FactorizedRandom": Call({"c": tabled, "rank": 2}),
        "synthesizer.FactorizedDense": Call({"c": tabled, "a": 2, "b": 2}),
        "synthesizer.tile_tile": Call({"p": t(4, 2), "q": t(4, 2)}),
        "synthesizer.tile_repeat": Call({"p": t(4, 2), "q": t(4, 2)}),
        "synthesizer.transposed": Call({"p": t(4, 2), "q": t(4, 2)}),
        "synthesizer.Fixed": Call({"c": tabled, "table": t(1, 4, 4)}),
        "synthesizer.Mixture": Call({"c": tabled, "parts": [Dense]}),
        "synthesizer.Synthesizer": Call({"c": tabled, "logits": Dense}),
        "synthesizer.Synthesizer.weights": Call({"self": Synthesizer(tabled, Dense), "x": t(2, 4, 8)}),
        "networks.TextCNN.forward": Call({"self": TextCNN(9, 2), "ids": ids(2, 4)}),
        "losses.check_labels": Call({"logits": t(2, 5), "labels": ids(2)}),
        "losses.masked_ce": Call({"logits": t(2, 5), "labels": ids(2)}),
        "losses.kl": Call({"reference": t(2, 5), "logits": t(2, 5)}),
        "logistic.fit_linear": Call(
            {"X": t(3, 2), "y": ids(3, low=0), "loss": F.cross_entropy, "classes": 3, "l2": 0.1, "tol": 1e-3},
        ),
        "longtail.class_counts": Call({"labels": ids(2, 3), "classes": 5}),
        "longtail.log_prior": Call({"counts": t(3) + 2, "smoothing": 1.0}),
        "longtail.logit_adjusted_ce": Call({"logits": t(2, 5), "labels": ids(2), "log_prior": t(5), "tau": 1.0}),
        "longtail.posthoc": Call({"logits": t(2, 5), "log_prior": t(5), "tau": 1.0}),
        "longtail.pmi": Call({"logits": t(2, 5), "log_prior": t(5)}),
        "longtail.vs_loss": Call(
            {"logits": t(2, 5), "labels": ids(2), "delta": t(5) + 2, "iota": t(5), "weight": t(5) + 2}
        ),
        "longtail.long_tail_indices": Call({"labels": ids(9, low=0), "ratio": 2.0, "largest": 3, "seed": 0}),
        "longtail.recalls": Call({"predicted": ids(2, 3), "labels": ids(2, 3), "classes": 5}),
        "longtail.balanced_accuracy": Call({"logits": t(2, 5), "labels": ids(2)}),
        "longtail.prior_accuracy": Call({"logits": t(3, 3), "labels": ids(3, low=0), "log_prior": t(3)}),
        "train.one_cycle": Call({"step": 0, "steps": 4, "warm": 0.3, "start": 25.0, "end": 1e4}),
        "train.fit": Call(
            {
                "model": nn.Linear(2, 1),
                "batch": lambda _: t(3, 2),
                "loss": lambda m, x: m(x).square().mean(),
                "steps": 1,
                "lr": 0.1,
                "clip": 1.0,
                "weight_decay": 0.0,
            }
        ),
        "counting.sum_product": Call({"factors": {"f": (("a",), np.ones(2, int))}, "domains": {"a": 2}}),
        "counting.draw": Call(
            {
                "factors": {"f": (("a",), np.ones(2, int))},
                "domains": {"a": 2},
                "rng": np.random.default_rng(0),
                "size": 3,
            }
        ),
        "counting.berlekamp_massey": Call({"sequence": [1, 1, 2, 3, 5, 8]}),
        "counting.walks": Call({"start": np.ones(2, int), "step": np.ones((2, 2), int), "count": 3}),
        "counting.burnside": Call(
            {"rows": np.array([[0, 1], [1, 0]]), "positions": np.array([[0, 1], [1, 0]]), "values": np.array([[0, 1]])}
        ),
        "waterpipe.Pipe": Call({"length": 20.0, "do": 0.025, "wall": 0.0035}),
        "waterpipe.advect": Call({"T": a(4) + 20, "pipe": pipe, "flow": 1e-4, "dt": 0.0, "T_in": 50.0, "T_amb": 15.0}),
        "waterpipe.shift": Call({"theta": a(2, 4), "cells": np.array([1, 2]), "decay": 0.9, "inlet": a(2)}),
        "waterpipe.leaving": Call({"theta": a(2, 4), "decay": 0.9, "inlet": a(2)}),
        "waterpipe.slow_wall": Call(
            {
                "pipe": pipe,
                "flow": 1e-4,
                "T_hot": 50.0,
                "T_cold": 15.0,
                "seconds": 9.0,
                "h_in": 3e3,
                "n": 5,
                "layers": 2,
            }
        ),
        "waterpipe.wait_time": Call({"pipe": pipe, "flow": 1e-4}),
        "waterpipe.upkeep": Call({"pipe": pipe, "T_hot": 50.0, "T_set": 38.0, "T_amb": 15.0}),
        "waterpipe.crossflow": Call({"p0": 2.5, "kc": 12.0, "kh": 7.0, "kt": 6.0, "p_crack": 0.1}),
        "hotwater.Home": Call({"hot_m": 20.0, "flow_lpm": 8.0, "draws_h": (7.0, 19.0), "timer_h": ((6.5, 8.0),)}),
        "hotwater.simulate": Call(
            {
                "strategy": hotwater.Strategy(on_demand=True),
                "home": hotwater.Home(),
                "draws_h": np.array([[7.0, 19.0], [8.0, 20.0]]),
                "use_min": np.array([[5.0, 5.0], [4.0, 0.0]]),
                "air_c": np.array([15.0, 20.0]),
                "mains_c": np.array([5.0, 15.0]),
                "cells": 4,
            }
        ),
        "squares.dominance": Call({"q": 3}),
        "squares.arm_counts": Call({"q": 3}),
        "squares.line_matrix": Call({"q": 3}),
        "squares.block_matrix": Call({"rows": 1, "q": 3}),
        "crosscount.bar_weights": Call({"q": 3}),
        "crosscount.count_centre_first": Call({"q": 3}),
        "crosscount.cross_tree": Call({"q": 3}),
        "crosscount.sample_solutions": Call({"rng": np.random.default_rng(0), "size": 3, "q": 3}),
        "means.power_mean": Call({"X": a(2, 4) + 2, "p": 0.5, "w": np.ones(4)}),
        "means.power_curve": Call({"x": a(4) + 2, "p": a(3)}),
        "means.rank": Call({"scores": a(4)}),
        "means.kendall_tau_matrix": Call({"rankings": a(2, 4)}),
        "means.second_order": Call({"X": a(2, 4) + 2, "p": 0.5}),
        "means.flip_condition": Call({"X": a(2, 4) + 2, "Y": a(2, 4) + 3, "p": 0.5}),
        "means.dominates": Call({"x": a(4), "y": a(4)}),
        "means.crossing_bound": Call({"x": a(4) + 2, "y": a(4) + 3}),
        "means.crossings": Call({"x": a(4) + 2, "y": a(4) + 3, "low": -2.0, "high": 2.0, "points": 5}),
        "orders.reachable_log10": Call({"m": 2, "n": 3}),
        "orders.tv_to_uniform": Call({"m": 2, "n": 3}),
        "orders.columns_then_rows_all": Call({"m": 2, "n": 2}),
        "orders.uniform": Call({"N": 4, "draws": 2, "rng": RNG}),
        "orders.columns_then_rows": Call({"m": 2, "n": 3, "draws": 2, "rng": RNG}),
        "orders.scatter": Call({"N": 4, "buckets": 2, "draws": 2, "rng": RNG}),
        "orders.merge": Call({"m": 2, "n": 3, "draws": 2, "rng": RNG}),
        "orders.blocked_merge": Call({"m": 2, "n": 3, "block": 2, "draws": 2, "rng": RNG}),
        "orders.buffered": Call({"N": 4, "slots": 2, "draws": 2, "rng": RNG}),
        "orders.short_last": Call({"m": 2, "n": 3, "last": 2, "draws": 2, "rng": RNG, "rejection": True}),
        "orders.short_last_law": Call({"m": 2, "n": 3, "last": 2, "rejection": True}),
        "orders.tv_after_rounds": Call({"m": 2, "rounds": 2}),
        "sgd.softmax_epoch": Call({"X": a(2, 3), "y": np.array([0, 1]), "orders": ORDERS, "batch": 1, "rate": 0.1}),
        "sgd.softmax_loss": Call({"X": a(2, 3), "y": np.array([0, 1]), "W": a(2, 3, 4), "b": a(2, 1, 4)}),
        "orderstats.order_rank": Call({"orders": ORDERS}),
        "orderstats.permutation_chi2": Call({"orders": ORDERS.repeat(5, axis=0)}),
        "orderstats.position_law": Call({"orders": ORDERS}),
        "orderstats.shared_block": Call({"orders": ORDERS, "block": 1}),
        "orderstats.same_file_neighbours": Call({"orders": ORDERS, "n": 1}),
        "orderstats.block_variance": Call({"orders": ORDERS, "n": 1, "block": 2}),
        "train.minibatches": Call({"size": 2, "seed": 0}, args=(t(4, 2),)),
        "train.mask_tokens": Call(
            {
                "ids": ids(2, 4),
                "rate": 0.5,
                "mask_id": 1,
                "vocab": 5,
                "generator": torch.Generator(),
                "random": 0.1,
                "keep": 0.1,
            },
            free={"mask_id": "any integer may stand for the mask"},
        ),
        "theseus.constant": Call({"p": 0.5}),
        "theseus.linear": Call({"k": 0.1, "b": 0.3}),
        "data.grammar.kind": Call({"noun": 4}),
        "data.grammar.sentences": Call({"count": 2, "seed": 0}),
        "train.accuracy": Call({"logits": t(2, 5), "labels": ids(2)}),
        "perturbation.unit": Call({"v": t(2, 3, 1)}),
        "perturbation.random_directions": Call(NOISED),
        "perturbation.noise_consistency": Call({"model": FLAT_NET, **NOISED, "logits": t(2, 2), "s": 0.1}),
        "perturbation.hellinger": Call({"logits": t(2, 3)}),
        "perturbation.gradient_penalty": Call({**derived(), "probes": 2, "generator": torch.Generator()}),
        "perturbation.fgm": Call({"loss": FLAT_NET, "x": t(2, 3, 1), "eps": 0.1}),
        "perturbation.lds_direction": Call({"model": FLAT_NET, **NOISED, "logits": t(2, 2), "xi": 0.01, "iters": 1}),
        "perturbation.vat_loss": Call(
            {"model": FLAT_NET, **NOISED, "logits": t(2, 2), "eps": 0.1, "xi": 0.01, "iters": 1}
        ),
        "curvature.input_fisher": Call({"model": FLAT_NET, "x": t(2, 3, 1)}),
        "curvature.laplacian": Call({"f": lambda z: z.square().sum((1, 2)), "x": t(2, 3, 1)}),
        "paths.line": Call({"x": t(2, 3), "baseline": t(2, 3), "alpha": t(4, 1, 1)}),
        "paths.axis_path": Call({"order": [1, 0]}),
        "paths.blur_path": Call({"side": 4, "time": 2.0}),
        "attribution.log_odds": Call({"logits": t(2, 3)}),
        "attribution.gradient": Call({"f": RELU_NET, "x": ROWS["x"], "target": ROWS["target"]}),
        "attribution.integrated_gradients": Call({"f": RELU_NET, **ROWS, "n": 2, "batch": 2, "tol": 0.1, "cap": 4}),
        "attribution.integrand": Call({"f": RELU_NET, **ROWS, "alphas": np.array([0.2, 0.5])}),
        "attribution.kinks": Call({"network": RELU_NET, "x": t(3), "baseline": torch.zeros(3)}),
        "attribution.exact_relu": Call({"network": RELU_NET, **ROWS}),
        "attribution.token_scores": Call({"attribution": t(2, 3, 4)}),
        "attribution.deletion_curve": Call({"f": RELU_NET, **ROWS, "scores": t(2, 3), "fractions": (0.0, 0.5)}),
        "data.digits.digits": Call({"train": 100, "seed": 0}),
        "data.sentiment.decode": Call({"ids": ids(4)}),
        "data.sentiment.reviews": Call({"count": 4, "seed": 0}),
        "data.leaderboards.leaderboard": Call({"board": "glue"}),
        "data.toy.batch_generator": Call({"seed": 0, "step": 0}),
        "data.toy.reverse": Call({"step": 0, "seed": 0, "batch": 2, "n": 4, "vocab": 5}),
        "data.toy.partner_lookup": Call({"step": 0, "seed": 0, "batch": 2, "keys": 4, "values": 3}, odd=("keys",)),
        "data.contexts.private_dictionary": Call(
            {"step": 0, "seed": 0, "batch": 2, "n": 4, "words": 2, "letters": 5, "word_length": 2}
        ),
        "data.contexts.words_and_repeats": Call(
            {"step": 0, "seed": 0, "batch": 2, "n": 4, "words": 2, "letters": 5, "word_length": 2}, odd=("batch",)
        ),
        "data.words.dictionary": Call(words_of),
        "data.words.draw": Call({"words": corpus.dictionary, "count": 2, "length": 3, "generator": torch.Generator()}),
        "data.words.sentences": Call({"count": 2, "length": 3, **words_of}),
        "networks.GRULM": Call({"vocab": 9, "d": 4, "hidden": 4, "seed": 0}),
        "networks.GRULM.forward": Call({"self": GRULM(9, 4, 4), "ids": ids(2, 4)}),
        "networks.GRULM.decode": Call({"self": GRULM(9, 4, 4), "prompt": ids(2, 2), "length": 3}),
        "mgs.bessel_ratio": Call({"nu": 1.5, "c": 2.0}),
        "mgs.ball_step": Call({"g": t(3), "eps": 0.1, "alpha": 1.0}),
        "mgs.damped_newton": Call({"g": t(3), "H": torch.eye(3), "alpha": 1.0, "s": 1.0}),
        "mgs.surrogate_move": Call(
            {"params": {"a": t(3)}, "surrogate": lambda p: p["a"].square().sum(), "lr": 0.1, "clip": 1.0}
        ),
        "mgs.noise": Call({"params": {"a": t(3)}, "n": 2, "sigma": 0.1, "generator": torch.Generator()}),
        "mgs.propose": Call({"mean": {"a": t(3)}, "n": 2, "sigma": 0.1, "lam": 0.5, "generator": torch.Generator()}),
        "mgs.log_weights": Call(
            {
                "losses": t(2),
                "moves": {"a": t(2, 3)},
                "mean": {"a": t(3)},
                "sigma": 0.1,
                "alpha": 1.0,
                "lam": 0.5,
                "kind": "prior",
            }
        ),
        "mgs.ess": Call({"logw": t(3)}),
        "mgs.mgs_step": Call(
            {
                "params": {"a": t(3)},
                "mean": {"a": t(3)},
                "loss_fn": lambda p: p["a"].sum(1),
                "n": 4,
                "sigma": 0.1,
                "alpha": 1.0,
                "lam": 0.5,
                "generator": torch.Generator(),
            }
        ),
        "mgs.es_step": Call(
            {
                "params": {"a": t(3)},
                "loss_fn": lambda p: p["a"].sum(1),
                "n": 4,
                "sigma": 0.1,
                "lr": 0.1,
                "generator": torch.Generator(),
            }
        ),
        "mgs.reinforce_step": Call(
            {"params": {"a": t(3)}, "log_prob": lambda p: p["a"] * 1.0, "losses": t(3), "lr": 0.1}
        ),
        "linear.fitted": Call({"X": t(8, 2) ** 2 + t(4, 4).view(8, 2), "y": torch.arange(8) % 3 == 0}),
        "linear.f1": Call({"said": torch.arange(6).view(2, 3) > 2, "y": torch.arange(3) > 1}),
        "linear.accuracy": Call({"said": torch.arange(6).view(2, 3) > 2, "y": torch.arange(3) > 1}),
        "linear.best_threshold": Call(
            {"scores": t(4), "y": torch.arange(4) > 1, "metric": lambda said, y: said.float().mean(-1), "levels": 4}
        ),
        "linear.maximise_f1": Call(
            {
                "X": t(8, 2) ** 2 + t(4, 4).view(8, 2),
                "y": torch.arange(8) % 3 == 0,
                "method": "prior",
                "updates": 1,
                "size": 4,
                "seed": 0,
            }
        ),
        "sequences.completion_errors": Call({"said": ids(2, 4), "target": ids(2, 3), "end": 0}, free={"end": "any id"}),
        "data.clusters.clusters": Call({"count": 3, "share": 0.5, "seed": 0}),
        "data.lengths.sentences": Call({"count": 3, "stay": 0.7, "seed": 0}),
        "data.lengths.decoded_length": Call({"tokens": ids(2, 4)}),
        "data.lengths.exact_error": Call({"length": ids(3), "shortest": ids(3)}),
        "data.words.optimum": Call({"corpus": corpus, "ids": corpus.ids, "hidden": corpus.ids == 2}),
        "data.retrieval.bags": Call({"count": 2, "n": 3, "keys": 5, "values": 2, "generator": torch.Generator()}),
        "data.hub.perplexity": Call({"model": model, "ids": ids(2, 4), "batch": 2}),
        "data.hub.masked_accuracy": Call(
            {"model": model, "tokenizer": TOKENIZER, "ids": ids(2, 4), "every": 2, "batch": 2}
        ),
    }


RECORD = "a record of results: it holds what functions computed"
MODULES_GIVEN = "is given modules, not numbers; refusals in the module's own test"
NOT_NUMERIC = "takes no numbers or arrays; refusals in the module's own test"
NETWORK = "reads the hub; refusals in test_data_hub"
EXEMPT = {
    **dict.fromkeys(("config.mode", "config.small_or_full", "config.device"), NOT_NUMERIC),
    **dict.fromkeys(("config.cpu_seconds", "config.versions"), NOT_NUMERIC),
    **dict.fromkeys(
        (
            "checks.array",
            "checks.at_least",
            "checks.positive",
            "checks.broadcastable",
            "checks.indices",
            "checks.checked",
            "checks.is_opaque",
        ),
        "the checks",
    ),
    **dict.fromkeys(("rules.Rule", "rules.Exact", "ledger.ClaimFailed", "ledger.Ledger"), NOT_NUMERIC),
    **dict.fromkeys(
        ("ledger.cells", "ledger.show", "ledger.strip", "ledger.as_html", "ledger.as_text"),
        "formats what the ledger checked",
    ),
    **dict.fromkeys(
        tuple(
            f"shuffle.{name}"
            for name in (
                "files.shuffle_files",
                "author.columns_then_rows",
                "cluster.shuffle_on_dask",
                "steps.parse_size",
                "steps.show_size",
                "steps.resident",
                "__main__.main",
                "__main__.parser",
            )
        ),
        "takes files and sizes; refusals in test_shuffle",
    ),
    **dict.fromkeys(
        tuple(
            f"shuffle.{name}"
            for name in (
                "sources.Sources",
                "sink.Sink",
                "target.Target",
                "target.held",
                "target.part_name",
                "files.check_space",
                "steps.Room",
                "steps.Spill",
                "steps.stream",
                "steps.write_all",
                "steps.offsets_of",
                "steps.permuted",
                "steps.permute_spill",
                "scatter.fan_out",
                "scatter.bucket_count",
                "scatter.split",
                "scatter.scatter",
                "merge.merge",
                "__main__.Bar",
                "__main__.Ended",
            )
        ),
        "a step of `shuffle_files`, which checks what it is given",
    ),
    "shuffle.files.Stats": RECORD,
    **dict.fromkeys(("figures.style", "figures.label_line", "figures.bars_with_seeds"), NOT_NUMERIC),
    "approx.MinimaxResult": RECORD,
    "moments.Moments": RECORD,
    **dict.fromkeys(("moments.merge", "moments.stream", "lda.from_moments"), "is given moments that were checked"),
    "dims.SoftmaxEntropies": RECORD,
    "counting.Beliefs": RECORD,
    "orderstats.ChiSquare": RECORD,
    "usage.Usage": RECORD,
    "usage.usage": "runs commands; refusals in the module's own test",
    "squares.dominant": NOT_NUMERIC,
    **dict.fromkeys(("hotwater.Strategy", "hotwater.strategies"), NOT_NUMERIC),
    "hotwater.DayResult": RECORD,
    **dict.fromkeys(
        ("crosscount.distinct", "crosscount.neighbours", "crosscount.free"), "compares elementwise anything"
    ),
    **dict.fromkeys(("crosscount.dihedral", "crosscount.polynomial", "crosscount.draw_cross"), NOT_NUMERIC),
    **dict.fromkeys(("crosscount.enumerate_crosses", "crosscount.solutions"), NOT_NUMERIC),
    "crosscount.obey": "reads columns of dominants that `enumerate_crosses` made",
    "attention.Bias": "abstract",
    "attention.check_mask": "is itself the refusal; tested through the attentions",
    "attention.length_scaled": "takes a function; its numbers are checked by `length_scale`",
    **dict.fromkeys(
        ("convert.from_bert", "convert.from_roformer", "convert.from_gpt2", "convert.from_t5"),
        "takes a model of transformers; refusals in test_convert",
    ),
    **dict.fromkeys(
        ("synthesizer.uniform", "synthesizer.identity", "synthesizer.synthesizer"),
        "takes a Config or a function; refusals in test_synthesizer",
    ),
    "norms.conditioned": "a context; refusals in test_norms",
    "linear_attention.LinearState": "made by `empty`; runs once a position and trusts its caller",
    "positions.Rotary": "made by `rotary`",
    **dict.fromkeys(
        ("blocks.Block", "transformer.Embed", "transformer.Encoder", "transformer.EncoderDecoder"), MODULES_GIVEN
    ),
    **dict.fromkeys(("theseus.Place", "theseus.Theseus", "theseus.hybrids"), MODULES_GIVEN),
    "data.grammar.Sentences": RECORD,
    **dict.fromkeys(("surgery.swap_activation", "surgery.swap_attention"), MODULES_GIVEN),
    "perturbation.steady": MODULES_GIVEN,
    "train.History": RECORD,
    **dict.fromkeys(("ensemble.Ensemble", "ensemble.Arm", "ensemble.fit_arms"), MODULES_GIVEN),
    "train.constant": "does not look at its arguments",
    "attribution.Attribution": RECORD,
    "data.digits.Digits": RECORD,
    "data.sentiment.Reviews": RECORD,
    "data.sentiment.encode": NOT_NUMERIC,
    **dict.fromkeys(("data.questions.encode", "data.questions.factors"), NOT_NUMERIC),
    "univae.Posterior": "a protocol: it computes nothing",
    "univae.with_noise": MODULES_GIVEN,
    **dict.fromkeys(("mgs.Step", "data.clusters.Clusters", "data.lengths.Sentences"), RECORD),
    **dict.fromkeys(("linear.score", "linear.log_loss"), "run inside torch.func transforms on what `fitted` checked"),
    **dict.fromkeys(("sequences.until", "sequences.edit_distance"), NOT_NUMERIC),
    **dict.fromkeys(("sequences.Methods", "sequences.Methods.forward"), MODULES_GIVEN),
    "sequences.greedy": "is given a model; refusals in the module's own test",
    "data.lengths.prompts": "takes no arguments",
    "data.contexts.Stream": RECORD,
    "data.words.Corpus": RECORD,
    "data.retrieval.Bags": RECORD,
    **dict.fromkeys(
        ("data.leaderboards.cells", "data.leaderboards.official", "data.leaderboards.from_parquet"), NOT_NUMERIC
    ),
    **dict.fromkeys(("data.hub.folder", "data.hub.causal_lm", "data.hub.masked_lm", "data.hub.classifier"), NETWORK),
    **dict.fromkeys(("data.hub.texts", "data.hub.vectors", "data.hub.images", "data.hub.windows"), NETWORK),
}


def public() -> dict[str, Callable[..., Any]]:
    """The public functions and classes of lib by `module.name`."""
    found = {}
    for info in pkgutil.walk_packages(lib.__path__, "lib."):
        if not info.ispkg:
            for name, thing in vars(importlib.import_module(info.name)).items():
                own = callable(thing) and getattr(thing, "__module__", "") == info.name
                if own and not name.startswith("_") and not isinstance(thing, typing.TypeVar):
                    found[f"{info.name.removeprefix('lib.')}.{name}"] = thing
    return found


def axes_of(function: Callable[..., Any], name: str) -> list[list[str]]:
    """The shapes that the annotation of a parameter allows, as lists of axes; none if it is no array type."""
    target = function.__init__ if inspect.isclass(function) else inspect.unwrap(function)
    hint = typing.get_type_hints(target).get(name)
    options = (hint,) if hasattr(hint, "dim_str") else typing.get_args(hint)
    return [option.dim_str.split() for option in options if hasattr(option, "dim_str")]


def bad_values(function: Callable[..., Any], name: str, value: Any, call: Call) -> Iterator[tuple[str, Any]]:
    """(what is wrong, value) for everything an argument must not be."""
    if name in call.free or name in ("seed", "self") or isinstance(value, bool):
        return
    if isinstance(value, int):
        yield "negative", -1
        if name in call.odd:
            yield "odd", value - 1
            yield "zero", 0
    elif isinstance(value, float):
        yield "NaN", math.nan
    elif type(value) in (list, tuple):
        yield "empty", value[:0]
    elif isinstance(value, np.ndarray | torch.Tensor):
        if value.dtype in (torch.float32, torch.float64, np.float64):
            for bad in (math.nan, math.inf):
                broken = value.clone() if isinstance(value, torch.Tensor) else value.copy()
                broken.reshape(-1)[-1] = bad
                yield str(bad), broken
        yield "empty", value[..., :0]
        shapes = axes_of(function, name)
        if all(any(axis[0] not in "*." for axis in axes) for axes in shapes):
            yield "without axes", value.reshape(-1)[0]
        if not any(axis[0] in "*." for axes in shapes for axis in axes):
            yield "one axis too many", value[None]
        others = {x for other in call.kwargs if other != name for axes in axes_of(function, other) for x in axes}
        for axes in shapes[:1]:
            for i, axis in enumerate(axes):
                if axis in others and axis[0] not in "*." and value.shape[i - len(axes)] > 1:
                    yield (
                        f"axis {axis} too short",
                        np.delete(value, 0, i - len(axes))
                        if isinstance(value, np.ndarray)
                        else value.narrow(i - len(axes), 1, value.shape[i - len(axes)] - 1),
                    )


def resolve(name: str) -> Callable[..., Any]:
    """The function, class or method with this name in lib."""
    parts = name.split(".")
    at = 3 if parts[0] == "data" else 2
    thing = getattr(importlib.import_module("lib." + ".".join(parts[: at - 1])), parts[at - 1])
    return getattr(thing, parts[at]) if len(parts) > at else thing


def problems() -> Iterator[str]:
    """Public names without a valid call, valid calls that fail, and bad calls that are not refused."""
    calls, names = table(), set(public())
    for name in sorted(names - set(calls) - set(EXEMPT)):
        yield f"{name}: neither a valid call in the table nor an exemption"
    for name in sorted((set(calls) | set(EXEMPT)) - names):
        if not callable(resolve(name)):
            yield f"{name}: in the table but not in lib"
    for name, call in calls.items():
        function = resolve(name)
        function(*call.args, **call.kwargs)
        for argument, value in call.kwargs.items():
            for fault, bad in bad_values(function, argument, value, call):
                try:
                    function(*call.args, **{**call.kwargs, argument: bad})
                except ValueError as error:
                    if "got" not in str(error):
                        yield f"{name}: {argument} {fault}: says not what it got: {error}"
                except Exception as error:
                    yield f"{name}: {argument} {fault}: {type(error).__name__}: {str(error)[:100]}"
                else:
                    yield f"{name}: {argument} {fault}: was taken"


if __name__ == "__main__":
    found = list(problems())
    print("\n".join(found) or f"{len(table())} functions refuse what they should")
    sys.exit(bool(found))
