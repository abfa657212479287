"""Generates the built-in data: synthetic house sales modeled on King County, drawn column by column, as CSV.

No row is a real house. The numbers below are rounded statistics of the published file (`kc_house_data.csv`: 21,613
sales, May 2014 to May 2015), or are fitted to them, so that its schema, distributions and main correlations are
reproduced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
from pyarrow import csv

from harness.data.storage.local import written_whole

ROWS = 21_613
# Rows drawn and written at once. Each block has its own random stream, so this number affects the data.
BLOCK_ROWS = 100_000
HEADER = (
    "id,date,price,bedrooms,bathrooms,sqft_living,sqft_lot,floors,waterfront,view,condition,grade,sqft_above,"
    "sqft_basement,yr_built,yr_renovated,zipcode,lat,long,sqft_living15,sqft_lot15"
)
COLUMNS: tuple[str, ...] = tuple(HEADER.split(","))
VERSION = 1
"""Increment this whenever the same rows and seed produce different bytes."""
# The last rows of the file are newly built houses, larger and more expensive than the rest.
DRIFT_FROM = 0.925
DRIFT_YEARS = (2004, 2015)

# Each of the file's zip codes: latitude and longitude of its center, and its share of the houses in thousandths.
ZIPCODES = """
98001 47.31 -122.27 17  98002 47.31 -122.21 9   98003 47.32 -122.31 13  98004 47.62 -122.21 15  98005 47.61 -122.17 8
98006 47.56 -122.15 23  98007 47.61 -122.14 7   98008 47.61 -122.12 13  98010 47.33 -122.00 5   98011 47.76 -122.20 9
98014 47.67 -121.85 6   98019 47.74 -121.95 9   98022 47.21 -122.00 11  98023 47.31 -122.36 23  98024 47.56 -121.91 4
98027 47.52 -122.04 19  98028 47.76 -122.25 13  98029 47.56 -122.01 15  98030 47.37 -122.19 12  98031 47.40 -122.19 13
98032 47.37 -122.28 6   98033 47.68 -122.19 20  98034 47.72 -122.21 25  98038 47.37 -122.03 27  98039 47.63 -122.23 2
98040 47.56 -122.23 13  98042 47.37 -122.12 25  98045 47.47 -121.76 10  98052 47.68 -122.12 27  98053 47.68 -122.02 19
98055 47.46 -122.20 12  98056 47.51 -122.18 19  98058 47.45 -122.15 21  98059 47.49 -122.14 22  98065 47.53 -121.86 14
98070 47.42 -122.46 5   98072 47.75 -122.13 13  98074 47.62 -122.04 20  98075 47.59 -122.02 17  98077 47.75 -122.06 9
98092 47.30 -122.17 16  98102 47.63 -122.32 5   98103 47.68 -122.34 28  98105 47.67 -122.29 11  98106 47.54 -122.36 15
98107 47.67 -122.38 12  98108 47.55 -122.31 9   98109 47.64 -122.35 5   98112 47.63 -122.30 12  98115 47.69 -122.30 27
98116 47.57 -122.39 15  98117 47.69 -122.38 26  98118 47.54 -122.28 24  98119 47.64 -122.37 9   98122 47.61 -122.30 13
98125 47.72 -122.30 19  98126 47.54 -122.38 16  98133 47.74 -122.34 23  98136 47.54 -122.39 12  98144 47.59 -122.30 16
98146 47.50 -122.36 13  98148 47.44 -122.33 3   98155 47.75 -122.30 21  98166 47.46 -122.35 12  98168 47.49 -122.31 12
98177 47.74 -122.37 12  98178 47.50 -122.25 12  98188 47.45 -122.28 6   98198 47.39 -122.32 13  98199 47.65 -122.40 15
"""
ZIP_TEXT, *ZIP_FACTS = np.array(ZIPCODES.split()).reshape(-1, 4).T
ZIP_LAT, ZIP_LONG, ZIP_SHARE = np.array(ZIP_FACTS, dtype=np.float64)
# Each zip code repeated in proportion to its share, to draw from.
ZIP_LOTTERY = np.repeat(np.arange(len(ZIP_TEXT)), ZIP_SHARE.astype(int))

DAYS = np.arange("2014-05-02", "2015-05-28", dtype="datetime64[D]")
DATES = [f"{day:%Y%m%d}T000000" for day in DAYS[np.is_busday(DAYS)].tolist()]

# Level: share of the houses, in thousandths.
BEDROOMS = {0: 0.6, 1: 9, 2: 128, 3: 454, 4: 318, 5: 74, 6: 12.6, 7: 1.8, 8: 1, 9: 0.4, 10: 0.2}
BATHROOMS = {0.5: 0.7, 0.75: 3, 1: 178, 1.5: 67, 1.75: 141, 2: 90, 2.25: 95, 2.5: 249, 2.75: 55, 3: 35, 3.25: 27}
BATHROOMS |= {3.5: 34, 3.75: 7, 4: 6, 4.25: 4, 4.5: 5, 5: 2, 5.5: 1, 6: 0.6, 6.75: 0.2, 8: 0.1}
FLOORS = {1: 494, 1.5: 88, 2: 382, 2.5: 7, 3: 28.6, 3.5: 0.4}
VIEW = {0: 902, 1: 15, 2: 45, 3: 23, 4: 15}
CONDITION = {1: 1.4, 2: 8, 3: 649, 4: 263, 5: 79}
GRADE = {3: 0.1, 4: 1.3, 5: 11, 6: 94, 7: 416, 8: 281, 9: 121, 10: 52.5, 11: 18.5, 12: 4.2, 13: 0.6}

# Quantiles: share of houses below the value, in thousandths: value. The years exclude the new houses at the end.
YEARS = {0: 1900, 50: 1914, 100: 1925, 250: 1950, 500: 1971, 750: 1991, 900: 2004, 950: 2006, 1000: 2015}
LOTS = {0: 520, 10: 1013, 50: 1800, 100: 3322, 250: 5040, 500: 7618, 750: 10_688, 900: 21_398, 950: 43_339}
LOTS |= {990: 213_008, 999: 495_876, 1000: 1_651_359}
LOTS15 = {0: 651, 10: 1191, 50: 1999, 100: 3667, 250: 5100, 500: 7620, 750: 10_083, 900: 17_852, 950: 37_063}
LOTS15 |= {990: 157_687, 999: 302_994, 1000: 871_200}


def generate(
    path: Path,
    rows: int = ROWS,
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    block_rows: int = BLOCK_ROWS,
) -> None:
    """Write a CSV of `rows` house sales; the same arguments give the same bytes.

    Memory use is constant, and the file gets its final name only when it is complete. `progress` is called with the
    number of rows written so far.
    """
    plain = csv.WriteOptions(include_header=False)
    with written_whole(path) as partial, partial.open("wb") as sink:
        sink.write(f"{HEADER}\n".encode())
        for number, start in enumerate(range(0, rows, block_rows)):
            stop = min(start + block_rows, rows)
            drifted = np.arange(start, stop) >= DRIFT_FROM * rows
            csv.write_csv(_draw(np.random.default_rng([seed, number]), drifted), sink, plain)
            if progress:
                progress(stop)


def _draw(rng: np.random.Generator, drifted: np.ndarray) -> pa.Table:
    """Draw one house for each element of `drifted`, which is true for new houses.

    Each column is drawn conditionally on the columns before it. Terms and sums are standardized where possible, so that
    a weight is roughly a correlation and noise makes up the rest. Only the sum for the price has a unit: it is in log
    dollars.
    """
    n = len(drifted)

    def noise() -> np.ndarray:
        return rng.standard_normal(n)

    place = ZIP_LOTTERY[rng.integers(len(ZIP_LOTTERY), size=n)]
    lat = np.clip(ZIP_LAT[place] + 0.018 * noise(), 47.1559, 47.7776).round(4)
    long = np.clip(ZIP_LONG[place] + 0.023 * noise(), -122.519, -121.315).round(3)
    east = (long + 122.214) / 0.141
    # Proximity to Medina, the most expensive town; a degree of latitude is 111 km here, one of longitude 75 km.
    central = (2.92 - np.log(3 + np.hypot(111 * (lat - 47.64), 75 * (long + 122.23)))) / 0.486

    # `era`, `size`, `quality` and `storeys` are yr_built, log sqft_living, grade and floors, standardized.
    yr_built = _curve(0.34 * east - 0.14 * central + 0.92 * noise(), YEARS)
    yr_built = np.where(drifted, rng.integers(*DRIFT_YEARS, n, endpoint=True), yr_built)
    era = (yr_built - 1971) / 29.4
    size = 0.32 * era - 0.15 * drifted + 0.18 * east + 0.20 * central + 0.91 * noise()
    sqft_living = np.clip(np.exp(7.556 + 0.425 * size), 290, 13_540).round(-1)

    view = _levels(0.51 * size - 0.19 * era - 0.19 * east + 0.87 * noise(), VIEW)
    waterfront = (view == 4) & (rng.random(n) < 0.5)
    grade = _levels(0.65 * size + 0.32 * era + 0.10 * view + 0.18 * central + 0.55 * noise(), GRADE)
    quality = (grade - 7.66) / 1.18
    floors = _levels(0.35 * era + 0.35 * quality + 0.80 * noise(), FLOORS)
    storeys = (floors - 1.49) / 0.54
    bathrooms = _levels(0.66 * size + 0.24 * era + 0.16 * storeys + 0.52 * noise(), BATHROOMS)
    bedrooms = _levels(0.88 * size - 0.25 * quality + 0.70 * noise(), BEDROOMS)

    # One house in 24 is renovated, most of them old.
    renovation = (2015 - 45 * rng.random(n) ** 1.5).round()
    renovated = (0.30 * size - 0.53 * era + 0.83 * noise() > 1.66) & (renovation > yr_built)
    condition = _levels(-0.34 * era - 0.17 * storeys - 0.5 * renovated + 0.90 * noise(), CONDITION)

    # Four in ten houses have a basement, which is about a third of the living area.
    cellar = 0.68 * size - 0.30 * quality - 0.45 * storeys - 0.34 * east + 0.20 * central + 0.15 * view + 0.72 * noise()
    sqft_basement = ((cellar > 0.29) * sqft_living * np.clip(0.32 + 0.115 * noise(), 0.02, 0.6)).round(-1)
    sqft_basement = np.clip(sqft_basement, sqft_living - 9410, np.minimum(sqft_living - 290, 4820))

    lot = 0.44 * size + 0.26 * east - 0.18 * central - 0.47 * storeys + 0.77 * noise()
    sqft_lot, sqft_lot15 = _curve(lot, LOTS), _curve(0.92 * lot + 0.38 * noise(), LOTS15)
    neighbours = 0.47 * size + 0.28 * quality + 0.18 * east + 0.06 * view + 0.61 * noise()
    sqft_living15 = np.clip(np.exp(7.539 + 0.3275 * neighbours), 399, 6210).round(-1)

    log_price = 12.735 + 0.15 * size + 0.043 * size**2 + 0.18 * quality - 0.055 * era + 0.23 * central
    log_price += 0.06 * view + 0.32 * waterfront + 0.04 * bathrooms + 0.05 * neighbours + 0.05 * condition
    log_price += 0.02 * lot + 0.08 * renovated + 0.205 * noise()
    price = np.clip(np.exp(log_price), 75_000, 7_700_000).round(-2)

    whole = {"price": price, "bedrooms": bedrooms, "waterfront": waterfront, "view": view, "condition": condition}
    whole |= {"grade": grade, "yr_built": yr_built, "yr_renovated": renovated * renovation, "sqft_living": sqft_living}
    whole |= {"sqft_above": sqft_living - sqft_basement, "sqft_basement": sqft_basement, "sqft_lot": sqft_lot}
    whole |= {"sqft_living15": sqft_living15, "sqft_lot15": sqft_lot15}
    columns = {name: pa.array(values.astype(np.int32)) for name, values in whole.items()}
    columns |= {name: pa.array(values) for name, values in {"bathrooms": bathrooms, "lat": lat, "long": long}.items()}
    digits = rng.integers(ord("0"), ord("9"), (n, 10), dtype=np.uint8, endpoint=True)
    columns["id"] = pa.array(digits.view("S10").ravel())
    columns["date"] = pa.array(DATES).take(pa.array(rng.integers(len(DATES), size=n)))
    # In steps of a half, starting at one floor.
    columns["floors"] = pa.array([f"{level:g}" for level in FLOORS]).take(pa.array((2 * floors - 2).astype(np.int8)))
    columns["zipcode"] = pa.array(ZIP_TEXT).take(pa.array(place))
    return pa.table(columns).select(COLUMNS)


def _levels(normal: np.ndarray, shares: Mapping[int, float] | Mapping[float, float]) -> np.ndarray:
    """Divide a standard normal variable into levels with these shares."""
    cumulated = np.cumsum(list(shares.values())) / sum(shares.values())
    cuts = [NormalDist().inv_cdf(share) for share in cumulated[:-1]]
    return np.array(list(shares), dtype=np.float64)[np.searchsorted(cuts, normal)]


def _curve(normal: np.ndarray, quantiles: Mapping[int, float]) -> np.ndarray:
    """Map a standard normal variable to these quantiles, interpolated geometrically and rounded to whole numbers."""
    # The quantiles 0 and 1 are placed at four standard deviations.
    knots = [NormalDist().inv_cdf(min(max(share / 1000, 3e-5), 1 - 3e-5)) for share in quantiles]
    return np.exp(np.interp(normal, knots, np.log(list(quantiles.values())))).round()
