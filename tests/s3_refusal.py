"""What a refused S3 request looks like: to boto3, and on the wire."""

from contextlib import contextmanager
from xml.etree import ElementTree

import pytest
from botocore.exceptions import ClientError


@contextmanager
def refused(status, code=None):
    """The block's boto3 call fails with this status and error code (HEAD answers carry no code)."""
    with pytest.raises(ClientError) as raised:
        yield raised
    response = raised.value.response
    got = response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]
    expected = status, str(status) if code is None else code
    assert got == expected, response


def error_code(response):
    """The code in the XML error document of a `requests` response."""
    root = ElementTree.fromstring(response.content)
    assert root.tag == "Error", response.text
    return root.findtext("Code")


def assert_refused(response, status, code=None):
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    if code is not None:
        assert error_code(response) == code, response.text
