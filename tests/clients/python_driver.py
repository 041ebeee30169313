"""Runs calls that come as lines of JSON with the boto3 of the interpreter that runs this file.

Usage: python_driver.py [ENDPOINT_URL]; without one, boto3 finds the endpoint in its environment.
Only what botocore 1.21 has is used here.
"""

import json
import sys

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError


def main():
    endpoint_url = sys.argv[1] if len(sys.argv) > 1 else None
    client = boto3.client(
        "voice-id", endpoint_url=endpoint_url, config=Config(retries={"max_attempts": 0})
    )
    for line in sys.stdin:
        print(json.dumps(answer(client, json.loads(line)), default=instant), flush=True)


def answer(client, question):
    operation, members, page_size = question["operation"], question["members"], question["page"]
    method = xform_name(operation)
    try:
        if page_size is None:
            return {"answer": plain(getattr(client, method)(**members))}
        return {"answer": list(pages(client, method, page_size, members))}
    except ParamValidationError as error:
        return {"refused": {"code": "client-side", "message": str(error)}}
    except ClientError as error:
        told = error.response
        code = told["Error"]["Code"]
        typed = getattr(client.exceptions, code, None)
        return {
            "refused": {
                "code": code,
                "message": told["Error"]["Message"],
                "status": told["ResponseMetadata"]["HTTPStatusCode"],
                "request_id": told["ResponseMetadata"].get("RequestId"),
                "is_typed": typed is not None and isinstance(error, typed),
                "resource_type": told.get("ResourceType"),
            }
        }


def pages(client, method, page_size, members):
    if client.can_paginate(method):
        options = {"PageSize": page_size}
        yield from map(
            plain, client.get_paginator(method).paginate(PaginationConfig=options, **members)
        )
        return
    token = {}  # botocore 1.21.49 has no paginators for this service
    while token is not None:
        page = plain(getattr(client, method)(MaxResults=page_size, **token, **members))
        yield page
        token = {"NextToken": page["NextToken"]} if "NextToken" in page else None


def plain(response):
    return {name: value for name, value in response.items() if name != "ResponseMetadata"}


def instant(moment):
    assert moment.tzinfo is not None, "a timestamp without its zone"
    return moment.timestamp()


if __name__ == "__main__":
    main()
