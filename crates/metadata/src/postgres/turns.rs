//! Parts of the statements about turns: who waits for one, and which one comes next.

/// Waits for its turn.
macro_rules! in_line {
    () => {
        "state = 'ready' AND turn_at IS NOT NULL"
    };
}
pub(super) use in_line;

/// Waits for its time, or for its turn to be given.
macro_rules! waiting {
    () => {
        "state = 'ready' AND turn_at IS NULL"
    };
}
pub(super) use waiting;

/// The turn of a job of this kind and owner that waits from now on: the round after the one that is served, or after the
/// owner's last one.
macro_rules! next_turn {
    ($kind:literal, $owner:literal, $now:literal) => {
        concat!(
            "greatest(coalesce((SELECT h.turn_at + interval '1 microsecond' FROM {p}_jobs AS h WHERE h.state = 'ready'
            AND h.turn_at IS NOT NULL AND h.kind = ", $kind, " ORDER BY h.turn_at, h.id LIMIT 1), ", $now, "),
            (SELECT l.turn_at + interval '1 microsecond' FROM {p}_jobs AS l WHERE l.state = 'ready'
            AND l.turn_at IS NOT NULL AND l.kind = ", $kind, " AND l.owner = ", $owner,
            " ORDER BY l.turn_at DESC LIMIT 1))"
        )
    };
}
pub(super) use next_turn;
