"""Weights by their name on Hugging Face, through huggingface_hub and its cache."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxnets.interop._stored import FUNCTION, optional_package

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
INDEX = "model.safetensors.index.json"


def from_hub(
    repository: str,
    revision: str | None,
    shard_names: Callable[[Path], Mapping[str, str]],
) -> Path:
    """Fetch the safetensors of a repository; the folder in which they lie.

    Raises:
        FileNotFoundError: if there is no such repository, it has no safetensors, or
            there is neither a network nor a copy in the cache.
    """
    hub = optional_package("huggingface_hub")
    errors = hub.errors

    def fetch(name: str) -> Path:
        return Path(hub.hf_hub_download(repository, name, revision=revision))

    unreachable = []

    def fetch_optional(name: str) -> Path | None:
        try:
            return fetch(name)
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
            # Not in the cache; another file may be.
            unreachable.append(error)
        except errors.EntryNotFoundError:
            pass
        return None

    try:
        found = fetch_optional("model.safetensors") or fetch_optional(INDEX)
        if found is None and not unreachable:
            raise FileNotFoundError(
                f"{FUNCTION}: {repository} on Hugging Face has neither "
                f"model.safetensors nor {INDEX} (fetch what it has and give its path)"
            )
        shards: set[str] = set()
        if found is not None and found.name == INDEX:
            shards |= set(shard_names(found).values())
        all_here = all([fetch_optional(shard) for shard in sorted(shards)])
        if found is None or (unreachable and not all_here):
            raise FileNotFoundError(
                f"{FUNCTION}: {repository} is no file or folder here, and Hugging Face "
                "cannot be reached; it is not in its cache either (look at the path, "
                "go online once, or copy the folder and give its path): "
                f"{unreachable[-1]}"
            ) from unreachable[-1]
        fetch_optional("config.json")
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        what = f"{repository} at {revision}" if revision else repository
        raise FileNotFoundError(
            f"{FUNCTION}: there is no file or folder {repository}, and Hugging Face "
            f"has no {what} that you may read (check the name; private ones need you "
            "to log in)"
        ) from error
    return found.parent
