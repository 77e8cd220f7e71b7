"""Learning rate as a function of the step: warm-up, then cosine, linear, constant or warm-up-stable-decay.

Input: the step, counted from 0. Output: the learning rate, float32 []. It has no state.

Sources: cosine, half a period: Loshchilov & Hutter 2017 (arXiv:1608.03983); warm-up-stable-decay: MiniCPM, Hu
et al. 2024 (arXiv:2404.06395), its decay 1-sqrt: Hägele et al. 2024 (arXiv:2405.18392).
"""

import math
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

Shape = Literal["cosine", "linear", "constant", "wsd"]


@keras.saving.register_keras_serializable(package="tfllm")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak`, then follows `shape` down to `final_fraction * peak`.

    Step 0 has the rate `peak / warmup_steps`, not 0. The final rate is that of step `steps`, the first after the run, and of
    all later ones.

        schedule("linear", peak=1.0, steps=6, warmup_steps=2, final_fraction=0.0)
        step   0    1    2    3     4    5     6    7
        rate   0.5  1.0  1.0  0.75  0.5  0.25  0.0  0.0

        schedule("wsd", peak=1.0, steps=8, warmup_steps=2, decay_steps=4, final_fraction=0.0)
        step   0    1    2    3    4    5    6       7       8
        rate   0.5  1.0  1.0  1.0  1.0  0.5  0.2929  0.1340  0.0

    Args:
        shape: "cosine", "linear", "constant", or "wsd" (constant, then 1-sqrt over the last `decay_steps`).
        peak: the highest rate, > 0.
        steps: optimizer steps of the whole run.
        warmup_steps: steps of the rise; fewer than `steps`.
        final_fraction: the final rate divided by the peak, 0 to 1; 0.1 by default. Not for "constant".
        decay_steps: length of the decay, only for "wsd"; by default a fifth of `steps`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        shape: Shape = "cosine",
        *,
        peak: float,
        steps: int,
        warmup_steps: int = 0,
        final_fraction: float | None = None,
        decay_steps: int | None = None,
    ) -> None:
        if shape not in get_args(Shape):
            raise ValueError(f"shape={shape!r} is invalid: expected one of {', '.join(get_args(Shape))}.")
        if not (peak > 0 and math.isfinite(peak)):
            raise ValueError(f"peak={peak!r} is invalid: expected a finite learning rate above 0.")
        if not 0 <= warmup_steps < steps:
            raise ValueError(f"warmup_steps={warmup_steps!r} is invalid: expected 0 or more, and fewer than steps={steps!r}.")
        if shape == "constant" and final_fraction is not None:
            raise ValueError(f"final_fraction={final_fraction!r} is invalid: a constant schedule has no decay. Leave it out.")
        if final_fraction is not None and not 0 <= final_fraction <= 1:
            raise ValueError(f"final_fraction={final_fraction!r} is invalid: expected a share of the peak, from 0 to 1.")
        if shape != "wsd" and decay_steps is not None:
            raise ValueError(f"decay_steps={decay_steps!r} is invalid with shape={shape!r}: only 'wsd' has it. Leave it out.")
        self.shape: Shape = shape
        self.peak = float(peak)
        self.steps = int(steps)
        self.warmup_steps = int(warmup_steps)
        self.final_fraction = final_fraction
        self.decay_steps = decay_steps
        self._decay_start = self._first_decaying_step()

    def _first_decaying_step(self) -> int:
        if self.shape != "wsd":
            return self.warmup_steps
        length = max(1, self.steps // 5) if self.decay_steps is None else self.decay_steps
        if not 0 < length <= self.steps - self.warmup_steps:
            raise ValueError(
                f"decay_steps={length!r} is invalid: expected 1 to {self.steps - self.warmup_steps}, the steps after the "
                f"warm-up (steps={self.steps!r}, warmup_steps={self.warmup_steps!r})."
            )
        return self.steps - length

    def __call__(self, step: Any) -> tf.Tensor:
        """Learning rate at `step` (integer scalar, from 0): float32 scalar."""
        step = tf.cast(step, tf.float32)
        rising = (step + 1.0) / max(1, self.warmup_steps)
        done = tf.clip_by_value((step - self._decay_start) / (self.steps - self._decay_start), 0.0, 1.0)
        left = {
            "cosine": lambda: 0.5 + 0.5 * tf.cos(math.pi * done),
            "linear": lambda: 1.0 - done,
            "constant": lambda: tf.ones_like(done),
            "wsd": lambda: 1.0 - tf.sqrt(done),
        }[self.shape]()
        floor = 0.1 if self.final_fraction is None else self.final_fraction
        return self.peak * tf.where(step < self.warmup_steps, rising, floor + (1.0 - floor) * left)

    def get_config(self) -> dict[str, Any]:
        names = ("shape", "peak", "steps", "warmup_steps", "final_fraction", "decay_steps")
        return {name: getattr(self, name) for name in names}


schedule = WarmupSchedule
