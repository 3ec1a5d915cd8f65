"""Upload exported files to a repository on the Hugging Face hub, whose library only this needs."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, get_token

from archsr.errors import UserError, first_line


def push(files: Sequence[Path], repository: str, *, private: bool = True) -> str:
    """Create OWNER/NAME if needed and upload the files; the card becomes its README. Return the page's address.

    Needs a token (`hf auth login`, or HF_TOKEN). Raises `UserError` on failure.
    """
    if get_token() is None:
        raise UserError(f"{repository}: no Hugging Face token; run hf auth login, or set HF_TOKEN")
    api = HfApi()
    try:
        page = str(api.create_repo(repository, private=private, exist_ok=True))
        for file in files:
            name = "README.md" if file.suffix == ".md" else file.name
            api.upload_file(path_or_fileobj=file, path_in_repo=name, repo_id=repository)
    except Exception as error:  # the hub's library has changed the one for HTTP, and its errors
        raise UserError(f"{repository}: upload failed: {first_line(error)}") from None
    return page
