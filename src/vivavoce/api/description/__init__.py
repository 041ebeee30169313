"""The service description: our copy of the public one, and the session operations beside it.

Files under `data/` have the layout of a botocore data path, so the same folder drives this server
and, named in `AWS_DATA_PATH`, gives any botocore-based client the session operations:

| file | where it comes from |
| --- | --- |
| `service-2`, `paginators-1` | generated from botocore, without its prose |
| `service-2.sdk-extras`, `paginators-1.sdk-extras` | written by hand: what vivavoce adds |
| `endpoint-rule-set-1` | written by hand: an explicit endpoint wins |

The extras also widen `ListDomains.MaxResults` to 1..100, since AWS's prose promised 100 where its
model said 10.
"""

from functools import cache
from pathlib import Path
from typing import Any, cast

from botocore.loaders import Loader
from botocore.model import ServiceModel

SERVICE_NAME = "voice-id"
API_VERSION = "2021-09-27"


def data_path() -> Path:
    """The folder to name in `AWS_DATA_PATH`."""
    return Path(__file__).parent / "data"


def load_description() -> dict[str, Any]:
    """The merged description, read from our files only."""
    loader = Loader(extra_search_paths=[str(data_path())], include_default_search_paths=False)
    return cast("dict[str, Any]", loader.load_service_model(SERVICE_NAME, "service-2", API_VERSION))


@cache
def load_service_model() -> ServiceModel:
    """The public and the session operations as one botocore model; read once."""
    return ServiceModel(load_description(), SERVICE_NAME)
