"""ListObjects and ListObjectsV2: prefix, delimiter, pages, markers, encoding."""

from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import pytest
import requests
from s3_refusal import assert_refused
from sigv4 import authorize, canonical_query

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@pytest.fixture(scope="module")
def holding(s3, new_bucket):
    """A bucket that holds exactly these keys; made once for each set."""
    made = {}

    def make(*keys):
        if keys not in made:
            made[keys] = new_bucket()
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda key: s3.put_object(Bucket=made[keys], Key=key, Body=key.encode()), keys))
        return made[keys]

    return make


@pytest.fixture(params=["list_objects", "list_objects_v2"])
def listing(request, s3):
    """Either version of the operation; what is asserted here holds for both."""
    return getattr(s3, request.param)


def keys(page):
    return [entry["Key"] for entry in page.get("Contents", [])]


def prefixes(page):
    return [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]


PLAIN = ("bar", "baz", "cab", "foo")
FOLDERS = ("asdf", "foo/bar", "foo/baz/xyzzy", "quux/thud")
DEEP = ("b/a/c", "b/a/g", "b/a/r", "g")


@pytest.mark.parametrize(
    ("held", "options", "expected_keys", "expected_prefixes"),
    [
        # delimiter
        (FOLDERS, {"Delimiter": "/"}, ["asdf"], ["foo/", "quux/"]),
        (PLAIN, {"Delimiter": "a"}, ["foo"], ["ba", "ca"]),
        (PLAIN, {"Delimiter": "/"}, list(PLAIN), []),
        (PLAIN, {"Delimiter": ""}, list(PLAIN), []),
        (PLAIN, {"Delimiter": "\n"}, list(PLAIN), []),
        (PLAIN, {"Delimiter": "az"}, ["bar", "cab", "foo"], ["baz"]),
        (("b%ar", "b%az", "c%ab", "foo"), {"Delimiter": "%"}, ["foo"], ["b%", "c%"]),
        (("b ar", "b az", "c ab", "foo"), {"Delimiter": " "}, ["foo"], ["b ", "c "]),
        (("b.ar", "b.az", "c.ab", "foo"), {"Delimiter": "."}, ["foo"], ["b.", "c."]),
        (("bяar", "cяab", "foo"), {"Delimiter": "я"}, ["foo"], ["bя", "cя"]),
        (("/one", "/two", "three"), {"Delimiter": "/"}, ["three"], ["/"]),
        (("a/", "a/b", "c"), {"Delimiter": "/"}, ["c"], ["a/"]),
        # prefix
        (FOLDERS, {"Prefix": "foo/"}, ["foo/bar", "foo/baz/xyzzy"], []),
        (PLAIN, {"Prefix": "ba"}, ["bar", "baz"], []),
        (PLAIN, {"Prefix": ""}, list(PLAIN), []),
        (PLAIN, {"Prefix": "d"}, [], []),
        (PLAIN, {"Prefix": "\n"}, [], []),
        (PLAIN, {"Prefix": "foo"}, ["foo"], []),
        # both
        (FOLDERS, {"Prefix": "foo/", "Delimiter": "/"}, ["foo/bar"], ["foo/baz/"]),
        (("bar", "bazar", "cab", "foo"), {"Prefix": "ba", "Delimiter": "a"}, ["bar"], ["baza"]),
        (DEEP, {"Prefix": "/", "Delimiter": "d"}, [], []),
        (DEEP, {"Prefix": "b", "Delimiter": "z"}, ["b/a/c", "b/a/g", "b/a/r"], []),
        (DEEP, {"Prefix": "y", "Delimiter": "z"}, [], []),
        (DEEP, {"Prefix": "b", "Delimiter": "/"}, [], ["b/"]),
        (("asdf/", "asdf/x"), {"Prefix": "asdf/", "Delimiter": "/"}, ["asdf/", "asdf/x"], []),
    ],
)
def test_prefix_and_delimiter(listing, holding, held, options, expected_keys, expected_prefixes):
    page = listing(Bucket=holding(*held), **options)
    assert (keys(page), prefixes(page)) == (expected_keys, expected_prefixes)
    assert page["IsTruncated"] is False
    assert page.get("Delimiter") == (options.get("Delimiter") or None)
    assert page["Prefix"] == options.get("Prefix", "")


def test_a_delimiter_does_not_hide_what_sorts_after_a_large_folder(s3, holding):
    inside = [f"0/{n}" for n in range(1000, 1999)]
    after = ["1999", "1999#", "1999+", "2000"]
    page = s3.list_objects(Bucket=holding("0/", *inside, *after), Delimiter="/")
    assert (keys(page), prefixes(page)) == (after, ["0/"])


UNDERSCORED = ("_obj1_", "_under1/bar", "_under1/baz/xyzzy", "_under2/bla", "_under2/thud")
MIXED = ("asdf", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud")


@pytest.mark.parametrize(
    ("held", "prefix", "size", "pages"),
    [
        (MIXED, "", 1, [(["asdf"], []), ([], ["boo/"]), ([], ["cquux/"])]),
        (MIXED, "", 2, [(["asdf"], ["boo/"]), ([], ["cquux/"])]),
        (MIXED, "boo/", 1, [(["boo/bar"], []), ([], ["boo/baz/"])]),
        (MIXED, "boo/", 2, [(["boo/bar"], ["boo/baz/"])]),
        (UNDERSCORED, "", 1, [(["_obj1_"], []), ([], ["_under1/"]), ([], ["_under2/"])]),
        (UNDERSCORED, "", 2, [(["_obj1_"], ["_under1/"]), ([], ["_under2/"])]),
        (UNDERSCORED, "_under1/", 1, [(["_under1/bar"], []), ([], ["_under1/baz/"])]),
    ],
)
def test_pages_with_a_delimiter(s3, holding, held, prefix, size, pages):
    """A folder counts as one entry, and the page after it does not begin inside it: in both versions."""
    bucket = holding(*held)
    common = {"Bucket": bucket, "Prefix": prefix, "Delimiter": "/", "MaxKeys": size}
    marker, token = {}, {}
    for number, expected in enumerate(pages, 1):
        first = s3.list_objects(**common, **marker)
        second = s3.list_objects_v2(**common, **token)
        assert (keys(first), prefixes(first)) == expected
        assert (keys(second), prefixes(second)) == expected
        assert second["KeyCount"] == len(expected[0]) + len(expected[1])
        last = number == len(pages)
        assert first["IsTruncated"] is second["IsTruncated"] is (not last)
        assert ("NextMarker" in first, "NextContinuationToken" in second) == (not last, not last)
        if not last:
            assert first["NextMarker"] == (expected[0] + expected[1])[-1]
            marker = {"Marker": first["NextMarker"]}
            token = {"ContinuationToken": second["NextContinuationToken"]}


def test_max_keys(listing, holding):
    bucket = holding(*PLAIN)
    page = listing(Bucket=bucket, MaxKeys=1)
    assert (keys(page), page["IsTruncated"], page["MaxKeys"]) == (["bar"], True, 1)
    page = listing(Bucket=bucket, MaxKeys=4)
    assert (keys(page), page["IsTruncated"]) == (list(PLAIN), False)
    page = listing(Bucket=bucket, MaxKeys=0)
    assert (keys(page), page["IsTruncated"]) == ([], False)
    page = listing(Bucket=bucket)
    assert (keys(page), page["MaxKeys"]) == (list(PLAIN), 1000)
    page = listing(Bucket=bucket, MaxKeys=5000)
    assert (keys(page), page["MaxKeys"]) == (list(PLAIN), 1000)


def get_bucket(server, bucket, query):
    url = f"{server.s3_url.rstrip('/')}/{bucket}"
    headers = authorize(server, "GET", url, query=query)
    return requests.get(f"{url}?{canonical_query(query)}", headers=headers, timeout=10)


@pytest.mark.parametrize("value", ["blah", "-1", "1.5", "99999999999999999999"])
@pytest.mark.parametrize("version", [{}, {"list-type": "2"}])
def test_invalid_max_keys(cloakroom, bucket, version, value):
    assert_refused(get_bucket(cloakroom, bucket, version | {"max-keys": value}), 400, "InvalidArgument")


@pytest.mark.parametrize(
    "query", [{"encoding-type": "xml"}, {"list-type": "2", "continuation-token": "not ours"}]
)
def test_invalid_arguments(cloakroom, bucket, query):
    assert_refused(get_bucket(cloakroom, bucket, query), 400, "InvalidArgument")


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("", list(PLAIN)),
        ("\n", list(PLAIN)),
        ("bar", ["baz", "cab", "foo"]),
        ("blah", ["cab", "foo"]),
        ("foo", []),
        ("zzz", []),
    ],
)
def test_begin_after(s3, holding, marker, expected):
    bucket = holding(*PLAIN)
    first = s3.list_objects(Bucket=bucket, Marker=marker)
    assert (keys(first), first["Marker"], first["IsTruncated"]) == (expected, marker, False)
    second = s3.list_objects_v2(Bucket=bucket, StartAfter=marker)
    assert (keys(second), second.get("StartAfter", ""), second["IsTruncated"]) == (expected, marker, False)


def test_no_marker_in_the_first_answer(s3, holding):
    page = s3.list_objects(Bucket=holding(*PLAIN))
    assert page["Marker"] == ""
    assert "NextMarker" not in page


def test_continuation_token(s3, holding):
    bucket = holding(*PLAIN)
    first = s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
    token = first["NextContinuationToken"]
    rest = s3.list_objects_v2(Bucket=bucket, ContinuationToken=token)
    assert (keys(rest), rest["ContinuationToken"], rest["IsTruncated"]) == (
        ["baz", "cab", "foo"],
        token,
        False,
    )
    assert "NextContinuationToken" not in rest
    empty = s3.list_objects_v2(Bucket=bucket, ContinuationToken="")
    assert (keys(empty), empty["ContinuationToken"], empty["IsTruncated"]) == (list(PLAIN), "", False)


def test_continuation_token_wins_over_start_after(s3, holding):
    bucket = holding(*PLAIN)
    token = s3.list_objects_v2(Bucket=bucket, StartAfter="bar", MaxKeys=1)["NextContinuationToken"]
    rest = s3.list_objects_v2(Bucket=bucket, StartAfter="bar", ContinuationToken=token)
    assert (keys(rest), rest["StartAfter"], rest["ContinuationToken"]) == (["cab", "foo"], "bar", token)


def test_owner_is_named_on_request(s3, holding):
    bucket = holding(*PLAIN)
    assert "Owner" in s3.list_objects(Bucket=bucket)["Contents"][0]
    assert "Owner" in s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]
    for options in ({}, {"FetchOwner": False}):
        assert "Owner" not in s3.list_objects_v2(Bucket=bucket, **options)["Contents"][0]


def test_entries_say_what_head_says(s3, listing, holding):
    bucket = holding(*PLAIN)
    for entry in listing(Bucket=bucket)["Contents"]:
        head = s3.head_object(Bucket=bucket, Key=entry["Key"])
        assert (entry["ETag"], entry["Size"]) == (head["ETag"], head["ContentLength"])
        assert entry["LastModified"].replace(microsecond=0) == head["LastModified"]
        assert entry["StorageClass"] == "STANDARD"


ENCODED = ("asdf+b", "foo bar/baz", "foo/baz+1", "quux ab/thud", "Ωμέγα/ü")


def test_encoding_type_url(cloakroom, holding):
    """Keys, prefixes, delimiter and markers all come percent-encoded; a slash stays, a plus does not."""
    query = {"encoding-type": "url", "delimiter": "/", "prefix": "", "marker": "a b"}
    answer = get_bucket(cloakroom, holding(*ENCODED), query)
    root = ElementTree.fromstring(answer.content)
    assert root.findtext(f"{NAMESPACE}EncodingType") == "url"
    assert root.findtext(f"{NAMESPACE}Marker") in ("a+b", "a%20b")
    assert [node.text for node in root.iterfind(f"{NAMESPACE}Contents/{NAMESPACE}Key")] == ["asdf%2Bb"]
    folders = [node.text for node in root.iterfind(f"{NAMESPACE}CommonPrefixes/{NAMESPACE}Prefix")]
    assert [folder.replace("+", "%20") for folder in folders] == [
        "foo%20bar/",
        "foo/",
        "quux%20ab/",
        "%CE%A9%CE%BC%CE%AD%CE%B3%CE%B1/",
    ]


def test_keys_come_back_as_they_went_in(listing, holding):
    """The SDK asks for url encoding and undoes it."""
    assert keys(listing(Bucket=holding(*ENCODED))) == sorted(ENCODED, key=str.encode)


def test_control_characters_without_encoding(cloakroom, holding, s3):
    """XML 1.0 cannot hold them raw: the document must still be one that a parser accepts."""
    bucket = holding("bell\x07", "plain")
    answer = get_bucket(cloakroom, bucket, {"list-type": "2"})
    assert answer.status_code == 200
    assert answer.content.count(b"<Key>") == 2
    assert keys(s3.list_objects_v2(Bucket=bucket)) == ["bell\x07", "plain"]


SPECIAL = (" ", '"', "$", "%", "&", "'", "<", ">", "_", "_ ", "_ _", "__")


def test_special_keys(s3, listing, holding):
    bucket = holding(*SPECIAL)
    assert keys(listing(Bucket=bucket)) == list(SPECIAL)
    for key in SPECIAL:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()


def test_listing_an_empty_bucket(listing, bucket):
    page = listing(Bucket=bucket)
    assert (keys(page), prefixes(page), page["IsTruncated"]) == ([], [], False)
