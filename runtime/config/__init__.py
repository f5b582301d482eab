"""Configuration: what `config.yaml` may say, and how it is read.

`load_config` reads a file under the environment and the command line's options, `config_from`
takes what an embedding program has, `config_schema` is what editors and `openbell config schema`
use. Nothing here imports numpy, pandas or pyarrow: every command starts with it.
"""

from openbell.runtime.config.model import (
    DIGEST_LEAVES_OUT,
    BreakoutConfig,
    Config,
    SessionConfig,
    config_schema,
)
from openbell.runtime.config.reading import config_from, load_config
from openbell.runtime.config.values import Buffer, Duration, Rearm, SessionTime, Size

__all__ = [
    "DIGEST_LEAVES_OUT",
    "BreakoutConfig",
    "Buffer",
    "Config",
    "Duration",
    "Rearm",
    "SessionConfig",
    "SessionTime",
    "Size",
    "config_from",
    "config_schema",
    "load_config",
]
