use super::ByteRange;

#[test]
fn ranges_resolve() {
    let table = [
        (ByteRange::FromTo(0, 4), 10, Some(0..=4)),
        (ByteRange::FromTo(4, 100), 10, Some(4..=9)),
        (ByteRange::FromTo(10, 11), 10, None),
        (ByteRange::FromTo(5, 4), 10, None),
        (ByteRange::From(9), 10, Some(9..=9)),
        (ByteRange::From(10), 10, None),
        (ByteRange::Last(3), 10, Some(7..=9)),
        (ByteRange::Last(30), 10, Some(0..=9)),
        (ByteRange::Last(0), 10, None),
        (ByteRange::From(0), 0, None),
        (ByteRange::Last(1), 0, None),
    ];
    for (range, size, expected) in table {
        assert_eq!(range.resolve(size), expected, "{range:?} of {size}");
    }
}
