"""Exported files to a repository of a Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError
from requests.exceptions import RequestException

from archsr.errors import UserError, first_line


def push(files: Sequence[Path], repository: str, *, private: bool = True) -> str:
    """Make OWNER/NAME if it is not there and put the files into it; the card becomes its README.

    Needs a token (`hf auth login`, or HF_TOKEN). Returns the page's address. Raises `UserError` where it cannot be.
    """
    if get_token() is None:
        raise UserError(f"{repository}: no token of a hub; run hf auth login, or set HF_TOKEN")
    api = HfApi()
    try:
        page = str(api.create_repo(repository, private=private, exist_ok=True))
        for file in files:
            name = "README.md" if file.suffix == ".md" else file.name
            api.upload_file(path_or_fileobj=file, path_in_repo=name, repo_id=repository)
    except (HfHubHTTPError, RequestException, OSError, ValueError) as error:
        raise UserError(f"{repository}: the hub did not take it: {first_line(error)}") from None
    return page
