"""`turnkeep.toml`: finding it, reading it, and saying what is wrong with it."""

from turnkeep.config.configuration import Config, Setting
from turnkeep.config.find import FILE_NAME, find_file
from turnkeep.config.load import load_config
from turnkeep.config.options import (
    AsDuration,
    Duration,
    ModelOptions,
    SessionOptions,
    TokenOptions,
    duration_text,
    seconds,
)

__all__ = [
    "FILE_NAME",
    "AsDuration",
    "Config",
    "Duration",
    "ModelOptions",
    "SessionOptions",
    "Setting",
    "TokenOptions",
    "duration_text",
    "find_file",
    "load_config",
    "seconds",
]
