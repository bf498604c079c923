"""Card transactions as they arrive at the fraud detector: for training, and as the body of a request.

Needs numpy alone, so that a load generator can import it without MLflow or scikit-learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

COLUMNS = ("amount", "merchant_category", "country", "hour", "card_age_days", "n_tx_24h")
CATEGORIES = ("grocery", "fuel", "restaurant", "fashion", "electronics", "travel", "gaming")
NEW_CATEGORY = "crypto"
"""Not on the market yet when the models were trained."""
COUNTRIES = ("DE", "FR", "NL", "PL", "US", "BR")

_CATEGORY_SHARES = (0.34, 0.14, 0.18, 0.12, 0.09, 0.07, 0.06)
_COUNTRY_SHARES = (0.34, 0.2, 0.14, 0.12, 0.12, 0.08)

Transaction = dict[str, Any]


def columns(rng: np.random.Generator, n: int, new_category_share: float = 0.0) -> dict[str, np.ndarray]:
    """Draw `n` transactions as columns; `new_category_share` (0 to 1) of them are in the new category."""
    category = rng.choice(CATEGORIES, n, p=_CATEGORY_SHARES).astype(object)
    category[rng.random(n) < new_category_share] = NEW_CATEGORY
    return {
        "amount": np.round(rng.lognormal(3.4, 1.1, n), 2),
        "merchant_category": category,
        "country": rng.choice(COUNTRIES, n, p=_COUNTRY_SHARES).astype(object),
        "hour": rng.integers(0, 24, n),
        "card_age_days": np.minimum(rng.exponential(700, n), 5000).astype(np.int64),
        "n_tx_24h": rng.negative_binomial(1.2, 0.3, n),
    }


def transactions(rng: np.random.Generator, n: int, new_category_share: float = 0.0) -> list[Transaction]:
    """Draw `n` transactions as plain JSON values."""
    drawn = columns(rng, n, new_category_share)
    return [dict(zip(drawn, row, strict=True)) for row in zip(*(c.tolist() for c in drawn.values()), strict=True)]


def request_body(rows: list[Transaction]) -> dict[str, Any]:
    """Return the JSON body of `POST /invocations` that asks for a score of each row."""
    return {"dataframe_split": {"columns": list(COLUMNS), "data": [[row[name] for name in COLUMNS] for row in rows]}}
