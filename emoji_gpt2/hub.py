"""Push a Transformers folder to the Hugging Face Hub.

The token comes from the environment (HF_TOKEN) or from ``hf auth login``, and from nowhere else.
"""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from emoji_gpt2.errors import UserError


def check_access(repo_id: str) -> None:
    """Make sure that ``repo_id`` can be written, and create it if it is not there.

    Raises:
        UserError: there is no token, it is wrong, or the repository is not ours to write.
    """
    api = HfApi()
    try:
        api.whoami()
        api.create_repo(repo_id, exist_ok=True)
    except (LocalTokenNotFoundError, HfHubHTTPError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"hub_model_name: got {repo_id!r}, wanted a repository that your token can write "
            f"({reason}); run `hf auth login`, or correct the name"
        ) from error


def push_folder(folder: Path, repo_id: str) -> str:
    """Upload the folder in one commit and return the repository's address.

    Raises:
        UserError: the upload failed; the folder is still there.
    """
    try:
        commit = HfApi().upload_folder(repo_id=repo_id, folder_path=folder)
    except (HfHubHTTPError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"hub_model_name: got {repo_id!r}, whose upload failed ({reason}); the model is in "
            f"{str(folder)!r}: push it with `hf upload {repo_id} {folder}`"
        ) from error
    return str(commit.repo_url)
