"""What to do about a model call that gave nothing, by its status."""

from typing import Final

REMEDIES: Final[dict[str, str]] = {
    "auth": "authentication refused: is the key right?",
    "quota": "no quota left: check the account's balance",
    "config": "the provider does not take the request: check the model's name and the base URL",
    "rate_limit": "too many requests: lower MAX_CONCURRENT_TURNS",
    "unavailable": "the provider can't be reached",
    "timeout": "no answer in time: raise MODEL_TIMEOUT or lower MAX_CONCURRENT_TURNS",
    "parse": "the reply was not understood: `simfeed models check` tells more; try --tool-mode json",
    "length": "cut off: raise MODEL_MAX_TOKENS",
}
