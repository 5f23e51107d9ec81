"""Forecast the next day of an hourly series with an LSTM, next to honest baselines.

The series is generated (examples/weather.py): daily and yearly cycles, a sky that
decides how large the daily one is, and warm and cold spells. So the best forecast there
can be is known, and the picture shows how much of the way to it was learnt. Baselines:
persistence (as now), yesterday (as 24 hours before), and the mean of the season and
hour.

    python examples/forecast.py
    python examples/forecast.py --cell gru --context 48

Expected on 2 CPU cores, seed 0: root mean squared error over the next 24 hours: LSTM
1.77 °C, best possible 1.74, yesterday 2.45, season and hour 3.11, persistence 4.56, in
less than a minute.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax
import tyro
from cells import CELLS, values
from flax import nnx
from plots import plt, save_curves, save_figure
from runs import environment, prepare, write_json
from weather import best_forecast, climate, features, generate

from jaxnets import train

WRITTEN = ("history.csv", "metrics.json", "curves.png", "forecast.png")
# Six years to learn, one to validate, one to test: in this order, as in life.
YEARS = {"train": 6, "validation": 1, "test": 1}
HOURS = 24 * 365


@dataclass(frozen=True)
class Config:
    """Learn to forecast a generated series and write results to a folder.

    Args:
        cell: which recurrent network.
        units: size of its state.
        context: hours that the network sees.
        horizon: hours to forecast.
        stride: hours between the beginnings of two training examples.
        run_dir: folder to write to; None takes runs/forecast.
        overwrite: replace what an earlier run left in the run folder.
        epochs: passes over the training years, at most.
        steps: stop after so many steps, for a quick look.
        batch_size: examples a step.
        learning_rate: of Adam.
        patience: epochs without a lower validation loss before it stops.
        seed: of the series, the parameters and the order of the examples.
    """

    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    units: int = 64
    context: int = 72
    horizon: int = 24
    stride: int = 5
    run_dir: Path | None = None
    overwrite: bool = False
    epochs: int = 20
    steps: int | None = None
    batch_size: int = 64
    learning_rate: float = 3e-3
    patience: int = 4
    seed: int = 0


class Forecaster(nnx.Module):
    """A recurrent layer whose last output tells the coming hours."""

    def __init__(self, config: Config, inputs: int, *, rngs: nnx.Rngs):
        init, self.layer, _ = CELLS[config.cell]
        params = init(rngs.params(), inputs, config.units)
        self.params = nnx.data(jax.tree.map(nnx.Param, params))
        self.head = nnx.Linear(config.units, config.horizon, rngs=rngs)

    def __call__(self, xs: jax.Array) -> jax.Array:
        """How the next hours differ from now, in standard deviations."""
        _, ys = self.layer(values(self.params), xs)
        return self.head(ys[:, -1])


def moments(config: Config, part: str) -> np.ndarray:
    """The hours of a part of the series at which a forecast is made."""
    names = list(YEARS)
    before = sum(YEARS[name] for name in names[: names.index(part)]) * HOURS
    after = before + YEARS[part] * HOURS
    # No forecast looks back or ahead into another part.
    first, last = before + config.context - 1, after - config.horizon
    return np.arange(first, last, config.stride if part == "train" else 1)


def windows(series: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """`series[start : start + size]` for every start."""
    return series[starts[:, None] + np.arange(size)]


def rmse(forecast: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Root mean squared error by hours ahead `(horizon,)`."""
    return np.sqrt(np.mean((forecast - truth) ** 2, axis=0))


def save_forecast(
    errors: dict[str, np.ndarray],
    truth: np.ndarray,
    forecasts: dict[str, np.ndarray],
    path: Path,
) -> None:
    """The error by hours ahead, and a few days with what was forecast for them."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10.5, 3.8), width_ratios=(2, 3), layout="constrained"
    )
    colours = {name: f"C{number}" for number, name in enumerate(errors)}
    colours["best possible"] = "black"
    for name, error in errors.items():
        style = ":" if name == "best possible" else "-"
        hours = np.arange(1, len(error) + 1)
        left.plot(hours, error, style, color=colours[name], label=name)
    left.set(xlabel="hours ahead", ylabel="RMSE in °C", ylim=(0, None))
    left.grid(alpha=0.3)
    left.legend(fontsize=8)
    horizon = truth.shape[1]
    shown = range(0, min(len(truth), 6 * horizon), horizon)
    right.plot(np.concatenate([truth[i] for i in shown]), color="black", label="truth")
    for name, forecast in forecasts.items():
        joined = np.concatenate([forecast[i] for i in shown])
        # Each day was forecast at its beginning: no line from one to the next.
        joined = np.insert(joined, range(horizon, len(joined), horizon), np.nan)
        hours = np.insert(
            np.arange(len(shown) * horizon, dtype=float),
            range(horizon, len(shown) * horizon, horizon),
            np.nan,
        )
        right.plot(hours, joined, color=colours[name], label=name)
    right.set(xlabel="hour of the test year", ylabel="°C")
    right.grid(alpha=0.3)
    right.legend(fontsize=8)
    save_figure(figure, path)


def main(config: Config) -> dict[str, Any]:
    """Train, test against the baselines and draw; returns what metrics.json holds."""
    run_dir = config.run_dir or Path("runs") / "forecast"
    prepare("forecast", run_dir, WRITTEN, config)
    weather = generate(config.seed, sum(YEARS.values()) * HOURS)
    inputs, temperature = features(weather), weather.temperature
    scale = float(temperature[: YEARS["train"] * HOURS].std())

    def examples(part: str) -> tuple[np.ndarray, np.ndarray]:
        now = moments(config, part)
        x = windows(inputs, now - config.context + 1, config.context)
        ahead = windows(temperature, now + 1, config.horizon)
        return x, ((ahead - temperature[now, None]) / scale).astype(np.float32)

    trainer = train.Trainer(
        Forecaster(config, inputs.shape[1], rngs=nnx.Rngs(config.seed)),
        optimizer=optax.chain(
            optax.clip_by_global_norm(1.0), optax.adam(config.learning_rate)
        ),
        loss=optax.squared_error,
        seed=config.seed,
    )
    began = time.perf_counter()
    x, y = examples("train")
    history = trainer.fit(
        x,
        y,
        batch_size=config.batch_size,
        epochs=config.epochs,
        steps=config.steps,
        validation_data=examples("validation"),
        callbacks=[
            train.EarlyStopping(
                "val_loss", patience=config.patience, restore_best=True
            ),
            train.CSVLogger(run_dir / "history.csv"),
            lambda _, logs: print(
                f"loss {logs['loss']:.4f}  val_loss {logs['val_loss']:.4f}", flush=True
            ),
        ],
    )
    seconds = time.perf_counter() - began

    now = moments(config, "test")
    truth = windows(temperature, now + 1, config.horizon)
    present = temperature[now, None]
    learnt = present + scale * trainer.predict(examples("test")[0], batch_size=512)
    mean = climate(weather, YEARS["train"] * HOURS)
    forecasts = {
        "persistence": np.broadcast_to(present, truth.shape),
        "yesterday": windows(
            temperature, now + 1 - 24 * (1 + (config.horizon - 1) // 24), config.horizon
        ),
        "season and hour": windows(mean, now + 1, config.horizon),
        config.cell: learnt,
        "best possible": best_forecast(weather, now, config.horizon),
    }
    errors = {name: rmse(forecast, truth) for name, forecast in forecasts.items()}
    total = {name: float(np.sqrt(np.mean(e**2))) for name, e in errors.items()}
    for name, error in total.items():
        print(f"{name:16} RMSE {error:.3f} °C")
    shown = {name: forecasts[name] for name in (config.cell, "season and hour")}
    save_forecast(errors, truth, shown, run_dir / "forecast.png")
    save_curves(history, run_dir / "curves.png", metric=None)
    metrics = {
        "rmse": total,
        "rmse_at_the_end": {name: float(e[-1]) for name, e in errors.items()},
        "epochs": len(history.epochs),
        "seconds": seconds,
        "seed": config.seed,
        **environment(),
    }
    write_json(run_dir / "metrics.json", metrics)
    return metrics


if __name__ == "__main__":
    try:
        main(tyro.cli(Config))
    except (OSError, ValueError) as error:
        raise SystemExit(f"forecast: {error}") from error
