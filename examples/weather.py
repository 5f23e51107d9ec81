"""A generated series that looks like the weather, and the best forecast there can be.

temperature_t = 10 − 9 cos(year) − (4 + 1.5 sun_t) cos(hour − 3 h) + mood_t, in °C once
an hour; `sun` (how clear the sky is) and `mood` (warm and cold spells) are
autoregressive noise that forget half of themselves in about one and two days. Since the
law is known, so is the conditional mean, which no forecast can beat on average.
"""

from typing import NamedTuple

import numpy as np

YEAR = 24 * 365
# What is left of the noise an hour later.
SUN_MEMORY, MOOD_MEMORY = 0.97, 0.985
MOOD_SCALE = 3.0


class Weather(NamedTuple):
    """An hourly series.

    Attributes:
        temperature: `(hours,)`, degrees Celsius.
        sun: `(hours,)`, mean 0 and variance 1.
        hour: `(hours,)`, since the beginning of the first year.
    """

    temperature: np.ndarray
    sun: np.ndarray
    hour: np.ndarray


def generate(seed: int, hours: int) -> Weather:
    """Draw a series."""
    rng = np.random.default_rng(seed)
    sun = autoregressive(rng, hours, SUN_MEMORY)
    mood = MOOD_SCALE * autoregressive(rng, hours, MOOD_MEMORY)
    hour = np.arange(hours)
    return Weather(cycles(hour, sun) + mood, sun, hour)


def autoregressive(rng: np.random.Generator, size: int, memory: float) -> np.ndarray:
    """x_t = memory · x_{t−1} + noise, of variance 1."""
    noise = rng.normal(size=size) * np.sqrt(1 - memory**2)
    x = np.empty(size)
    last = rng.normal()
    for t in range(size):
        x[t] = last = memory * last + noise[t]
    return x


def cycles(hour: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """The part of the temperature that time and sun decide."""
    year = 9 * np.cos(2 * np.pi * hour / YEAR)
    day = (4 + 1.5 * sun) * np.cos(2 * np.pi * (hour - 3) / 24)
    return 10 - year - day


def best_forecast(weather: Weather, now: np.ndarray, horizon: int) -> np.ndarray:
    """The conditional mean of the next hours, `(len(now), horizon)`."""
    ahead = np.arange(1, horizon + 1)
    later = weather.hour[now][:, None] + ahead
    mood = weather.temperature[now] - cycles(weather.hour[now], weather.sun[now])
    sun = weather.sun[now][:, None] * SUN_MEMORY**ahead
    return cycles(later, sun) + mood[:, None] * MOOD_MEMORY**ahead


def features(weather: Weather) -> np.ndarray:
    """What a forecast may see, `(hours, 6)` float32: both series and the clock."""
    day, year = 2 * np.pi * weather.hour / 24, 2 * np.pi * weather.hour / YEAR
    columns = [
        (weather.temperature - 10) / 8,
        weather.sun,
        np.sin(day),
        np.cos(day),
        np.sin(year),
        np.cos(year),
    ]
    return np.stack(columns, axis=-1).astype(np.float32)


def climate(weather: Weather, hours: int) -> np.ndarray:
    """The mean weather of every hour, fitted to the first `hours`: `(all hours,)`.

    Least squares on two harmonics of the day, two of the year and their products.
    """
    day, year = 2 * np.pi * weather.hour / 24, 2 * np.pi * weather.hour / YEAR

    def waves(angle: np.ndarray) -> list[np.ndarray]:
        return [np.ones_like(angle)] + [
            wave(k * angle) for k in (1, 2) for wave in (np.sin, np.cos)
        ]

    columns = np.stack([a * b for a in waves(day) for b in waves(year)], axis=-1)
    fitted, *_ = np.linalg.lstsq(
        columns[:hours], weather.temperature[:hours], rcond=None
    )
    return columns @ fitted
