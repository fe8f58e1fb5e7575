//! What a worker may claim beside what it runs: never more than it can run, of no kind more than its limit, and neither
//! lane the last place of the other.

use cloakroom_core::job::{JobKind, Lane};

use crate::WorkerOptions;

/// How much may be claimed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Jobs in all. All of them may be of one lane.
    pub(crate) limit: u32,
    /// Kinds of which fewer may be claimed.
    pub(crate) at_most: Vec<(JobKind, u32)>,
}

impl Room {
    /// For one job, whatever it is.
    pub(crate) const fn for_one() -> Self {
        Self {
            limit: 1,
            at_most: Vec::new(),
        }
    }

    /// Where so many places are free beside jobs of these kinds.
    pub(crate) fn beside(
        options: &WorkerOptions,
        free: usize,
        running: impl Iterator<Item = JobKind>,
    ) -> Self {
        let running: Vec<JobKind> = running.collect();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        // With one place only, whoever comes first has it.
        let places = options.concurrency.saturating_sub(1).max(1);
        let left = |lane| {
            let taken = running.iter().filter(|kind| kind.lane() == lane).count();
            number(places.saturating_sub(taken))
        };
        let open = Lane::ALL.iter().map(|lane| left(*lane)).filter(|left| *left > 0);
        let limit = open.fold(number(free), u32::min);
        let mut at_most = Vec::new();
        for kind in JobKind::ALL.iter().copied() {
            let taken = number(running.iter().filter(|running| **running == kind).count());
            let own = options
                .limits
                .get(&kind)
                .map_or(limit, |most| most.saturating_sub(taken));
            let room = own.min(left(kind.lane()));
            if room < limit {
                at_most.push((kind, room));
            }
        }
        Self { limit, at_most }
    }

    /// Kinds that may not be claimed.
    pub(crate) fn closed(&self) -> Vec<JobKind> {
        let closed = self.at_most.iter().filter(|(_, room)| *room == 0);
        closed.map(|(kind, _)| *kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use cloakroom_core::id::WorkerId;
    use proptest::prelude::*;

    use super::*;

    fn options(concurrency: usize, limits: &[(JobKind, u32)]) -> WorkerOptions {
        WorkerOptions {
            concurrency,
            limits: limits.iter().copied().collect(),
            ..WorkerOptions::new(WorkerId("w".to_owned()))
        }
    }

    fn room(options: &WorkerOptions, running: &[JobKind]) -> Room {
        let free = options.concurrency.saturating_sub(running.len());
        Room::beside(options, free, running.iter().copied())
    }

    use JobKind::{ArchiveFile, ProcessFile, PurgeFile, ReapUpload};

    #[test]
    fn neither_lane_takes_the_last_place_of_the_other() {
        let options = options(4, &[]);
        assert_eq!(room(&options, &[]).limit, 3);
        let photos = room(&options, &[ProcessFile, ProcessFile, ArchiveFile]);
        assert_eq!(photos.limit, 1);
        assert!(photos.closed().contains(&ProcessFile) && photos.closed().contains(&ArchiveFile));
        assert!(!photos.closed().contains(&PurgeFile));
        let purges = room(&options, &[PurgeFile, PurgeFile, ReapUpload]);
        assert!(purges.closed().contains(&ReapUpload) && !purges.closed().contains(&ProcessFile));
    }

    #[test]
    fn one_place_is_for_whoever_comes_first() {
        let options = options(1, &[]);
        assert_eq!(room(&options, &[]), Room::for_one());
    }

    #[test]
    fn a_kind_has_its_own_limit() {
        let options = options(8, &[(ProcessFile, 2)]);
        assert_eq!(room(&options, &[]).at_most, [(ProcessFile, 2)]);
        assert_eq!(room(&options, &[ProcessFile]).at_most, [(ProcessFile, 1)]);
        let full = room(&options, &[ProcessFile, ProcessFile]);
        assert_eq!((full.limit, full.closed()), (5, vec![ProcessFile]));
    }

    proptest! {
        /// Whatever is claimed within the room, in whatever order it comes and ends, the limits hold and neither lane is
        /// shut out while a place is free.
        #[test]
        fn limits_hold_whatever_comes(
            concurrency in 1_usize..9,
            most in 1_u32..5,
            steps in prop::collection::vec((0_usize..JobKind::ALL.len(), any::<bool>(), 0_usize..8), 1..80),
        ) {
            let options = options(concurrency, &[(ProcessFile, most)]);
            let mut running: Vec<JobKind> = Vec::new();
            for (kind, ends, which) in steps {
                if ends && !running.is_empty() {
                    running.swap_remove(which % running.len());
                }
                if running.len() >= concurrency {
                    continue;
                }
                let room = room(&options, &running);
                prop_assert!(room.limit >= 1);
                for lane in Lane::ALL {
                    let shut = JobKind::ALL.iter().filter(|kind| kind.lane() == *lane).all(|kind| room.closed().contains(kind));
                    let has_any = running.iter().any(|kind| kind.lane() == *lane);
                    prop_assert!(!shut || has_any, "{lane:?} is shut out: {running:?}");
                }
                // As much of one kind as the claim may give.
                let kind = JobKind::ALL[kind];
                let bound = room.at_most.iter().find(|(bounded, _)| *bounded == kind);
                let count = bound.map_or(room.limit, |(_, most)| *most);
                running.extend(std::iter::repeat_n(kind, count as usize));
                prop_assert!(running.len() <= concurrency);
                let photos = running.iter().filter(|kind| **kind == ProcessFile).count();
                prop_assert!(photos <= most as usize);
                if concurrency > 1 {
                    for lane in Lane::ALL {
                        let taken = running.iter().filter(|kind| kind.lane() == *lane).count();
                        prop_assert!(taken < concurrency, "{running:?}");
                    }
                }
            }
        }
    }
}
