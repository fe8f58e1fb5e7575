//! Damaged pictures by the thousand: whatever the bytes, there is an answer, no panic and no endless loop.
//!
//! `IMAGE_MUTATIONS` is the number for each file of the corpus (120 unless told); the seed is fixed, so that a failure
//! comes again. A panic names file and number by the input that is written to the temporary folder.

use std::{panic, time::Instant};

use cloakroom_images::{Fit, Limits, OutputFormat, Rendition, inspect, render};

use super::{names, read};

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }
}

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutated = bytes.to_vec();
    for _ in 0..=random.below(6) {
        let length = mutated.len();
        // Half of the time near the beginning, where the headers are.
        let reach = if random.below(2) == 0 {
            length.min(700)
        } else {
            length
        };
        let at = random.below(reach);
        match random.below(7) {
            0 => mutated[at] ^= 1 << random.below(8),
            1 => mutated[at] = random.next() as u8,
            2 => mutated[at] = [0, 0xFF, 0x7F, 0x80, 1][random.below(5)],
            3 => mutated.truncate(at.max(16)),
            4 => {
                let end = (at + random.below(64)).min(length);
                let piece = mutated[at..end].to_vec();
                let to = random.below(length);
                mutated.splice(to..to, piece);
            }
            5 => {
                let end = (at + random.below(32)).min(length);
                mutated.drain(at..end);
            }
            _ => {
                let end = (at + random.below(16)).min(length);
                mutated[at..end]
                    .iter_mut()
                    .for_each(|byte| *byte = random.next() as u8);
            }
        }
        if mutated.len() < 16 {
            break;
        }
    }
    mutated
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how many mutations is asked of whoever runs the tests"
)]
fn damaged_pictures_have_an_answer() {
    let each: usize = std::env::var("IMAGE_MUTATIONS").map_or(120, |number| number.parse().unwrap());
    // Sides are limited so that a mutated size costs time in proportion.
    let limits = Limits {
        pixels: 4_000_000,
        side: 4_000,
        ..Limits::default()
    };
    let renditions = [(31, OutputFormat::Jpeg), (150, OutputFormat::Auto)].map(|(side, format)| Rendition {
        name: String::new(),
        width: side,
        height: side,
        fit: if side == 31 { Fit::Cover } else { Fit::Contain },
        format,
        quality: 80,
    });
    let (mut made, mut refused) = (0, 0);
    for name in names("good") {
        let bytes = read(&format!("good/{name}"));
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ name.len() as u64);
        for number in 0..each {
            let input = mutate(&bytes, &mut random);
            let begun = Instant::now();
            let answer = panic::catch_unwind(|| {
                let _ = inspect(&input, &limits);
                render(&input, &renditions, &limits).is_ok()
            });
            let seconds = begun.elapsed().as_secs_f32();
            let Ok(answer) = answer else {
                let kept = std::env::temp_dir().join(format!("mutation-{number}-{name}"));
                std::fs::write(&kept, &input).unwrap();
                panic!("mutation {number} of {name} panicked: {}", kept.display());
            };
            assert!(seconds < 10.0, "mutation {number} of {name} took {seconds} s");
            if answer { made += 1 } else { refused += 1 }
        }
    }
    assert!(made > 0 && refused > 0, "{made} made, {refused} refused");
}
