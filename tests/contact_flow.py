"""Amazon Connect's contact flow as the example's Lambda function sees it.

Source: Amazon Connect's administrator guide, "Invoke AWS Lambda functions".
"""

import importlib.util
from pathlib import Path

_FUNCTION = Path(__file__).parents[1] / "examples" / "amazon-connect" / "lambda_function.py"


def load_function():
    """The function's module, afresh, as Lambda does at a cold start."""
    spec = importlib.util.spec_from_file_location("lambda_function", _FUNCTION)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def invoked(action, contact_id, arn, number, **attributes):
    """What Amazon Connect gives the function; without an ARN no media streaming was started."""
    audio = {
        "StartFragmentNumber": number,
        "StartTimestamp": "1571360125131",
        "StreamARN": arn,
    }
    return {
        "Name": "ContactFlowEvent",
        "Details": {
            "ContactData": {
                "Attributes": attributes,
                "Channel": "VOICE",
                "ContactId": contact_id,
                "MediaStreams": {"Customer": {"Audio": audio if arn else None}},
            },
            "Parameters": {} if action is None else {"action": action},
        },
    }
